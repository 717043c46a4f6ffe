"""A Charging Station: simulator, client and fleet, with a codec of its own.

It shares no code with the CSMS or its PKI, so that a misunderstanding of OCPP on one side
shows as a failed conversation instead of cancelling itself out.
"""
