"""What stations ask: one module per functional block of the specification.

A handler takes the context of the speaking station, the decoded request and a unit of work, and
returns an `Answer`. It never commits: the connection does, and answers only then (decision 5).
"""
