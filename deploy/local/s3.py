"""Just enough of S3 to make a bucket and to see that it takes an object: requests signed with version 4, no library."""

import hashlib
import hmac
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

EMPTY = hashlib.sha256(b"").hexdigest()
ALREADY_MADE = 409
ANSWERS_WITHIN = 5.0


@dataclass(frozen=True)
class S3Account:
    """Where an object store answers, and who asks."""

    endpoint: str
    access_key: str
    secret_key: str
    region: str = "us-east-1"

    def takes_objects(self, bucket: str) -> bool:
        """Return whether the bucket, made where it is missing, takes an object now."""
        probe = f"/{bucket}/.probe"
        return (
            self.ask("PUT", f"/{bucket}") in (200, ALREADY_MADE)
            and self.ask("PUT", probe) == 200
            and self.ask("DELETE", probe) == 204
        )

    def ask(self, method: str, path: str) -> int:
        """Send a request without a body, and return the status it is answered with; 0 when it is not."""
        request = urllib.request.Request(  # noqa: S310  # the endpoint is ours
            self.endpoint + path, method=method, headers=self.sign(method, path, datetime.now(UTC))
        )
        try:
            with urllib.request.urlopen(request, timeout=ANSWERS_WITHIN) as answer:  # noqa: S310
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            return refused.code
        except OSError:
            return 0

    def sign(self, method: str, path: str, moment: datetime) -> dict[str, str]:
        """Return the headers that a request without query and body needs."""
        at, day = moment.strftime("%Y%m%dT%H%M%SZ"), moment.strftime("%Y%m%d")
        host = urlsplit(self.endpoint).netloc
        asked = f"{method}\n{path}\n\nhost:{host}\nx-amz-content-sha256:{EMPTY}\nx-amz-date:{at}\n\n"
        signed = "host;x-amz-content-sha256;x-amz-date"
        scope = f"{day}/{self.region}/s3/aws4_request"
        asked_digest = hashlib.sha256(f"{asked}{signed}\n{EMPTY}".encode()).hexdigest()
        key = f"AWS4{self.secret_key}".encode()
        for part in (*scope.split("/"), f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{asked_digest}"):
            key = hmac.digest(key, part.encode(), "sha256")
        credential = f"AWS4-HMAC-SHA256 Credential={self.access_key}/{scope}"
        return {
            "Authorization": f"{credential}, SignedHeaders={signed}, Signature={key.hex()}",
            "x-amz-content-sha256": EMPTY,
            "x-amz-date": at,
        }
