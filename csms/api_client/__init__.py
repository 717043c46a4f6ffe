"""The command line's side of the management API: `csms station | client | certificate`.

An OAuth client like any other: it knows the API's contract and nothing of what is behind it.

session       where the API is, who we are, one token per run
output        tables, JSON, one-line errors
station, client, certificate    the sub-commands
"""
