"""What `spark-submit` is given: it runs `tapehouse stream`, with the arguments that follow."""

import sys

from tapehouse.cli import main

if __name__ == "__main__":
    main(["stream", *sys.argv[1:]], prog_name="tapehouse")
