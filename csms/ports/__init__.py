"""What the inside needs of the outside: stores, unit of work, bus, station link, clock.

Edges implement these; blocks and operations see nothing else of them.
"""
