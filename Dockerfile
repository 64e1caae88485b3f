# Tapehouse with all that any of its commands needs: Python, a Java runtime, Spark and its jars, dbt and its project.
#   docker build -t tapehouse . && docker run --rm tapehouse --help
# --build-arg LOCKS=requirements/NAME.lock installs what that file pins instead.

FROM maven:3.9.11-eclipse-temurin-21 AS jars
WORKDIR /build
COPY deploy/local/jars/spark.xml deploy/local/jars/spark.sha256 ./
RUN mvn --batch-mode --quiet --strict-checksums --file spark.xml dependency:copy-dependencies \
      -DincludeScope=runtime -DoutputDirectory=/jars
WORKDIR /jars
RUN sha256sum --check --strict --quiet /build/spark.sha256

FROM python:3.12-slim-bookworm AS packages
WORKDIR /build
RUN python -m venv /opt/tapehouse
COPY requirements requirements
RUN /opt/tapehouse/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/bootstrap.lock
ARG LOCKS="requirements/cluster.lock requirements/warehouse.lock"
# hadolint ignore=SC2086  # they are several words
RUN /opt/tapehouse/bin/uv pip sync --no-cache --python /opt/tapehouse/bin/python --require-hashes $LOCKS
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/tapehouse/bin/uv pip install --no-cache --python /opt/tapehouse/bin/python --no-deps --no-build-isolation .

FROM python:3.12-slim-bookworm
# hadolint ignore=DL3008  # Debian keeps one version: the one with the security fixes
RUN apt-get update \
 && apt-get install --yes --no-install-recommends openjdk-17-jre-headless procps \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --create-home --home-dir /var/lib/tapehouse tapehouse \
 && install --directory --owner tapehouse /var/lib/tapehouse/data /var/lib/tapehouse/data/warehouse
COPY --from=jars /jars /opt/spark-jars
COPY --from=packages /opt/tapehouse /opt/tapehouse
COPY dbt /opt/tapehouse-dbt
ENV PATH=/opt/tapehouse/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TAPEHOUSE_SPARK_JARS=/opt/spark-jars \
    TAPEHOUSE_DBT_PROJECT=/opt/tapehouse-dbt
USER 10001
WORKDIR /var/lib/tapehouse
VOLUME /var/lib/tapehouse/data
EXPOSE 8000
ENTRYPOINT ["tapehouse"]
CMD ["up"]
