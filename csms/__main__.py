"""`python -m csms` is `csms`."""

from csms.cli import main

main()
