"""The 64 messages of OCPP 2.0.1 and who may send which (Part 2, section 3).

`DataTransfer` alone goes both ways: 25 + 40 - 1. OCPP 2.1's actions are unknown here on purpose:
they belong to another subprotocol.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Action(StrEnum):
    """The message name without "Request", case-sensitive (Part 4 §4.1.6)."""

    AUTHORIZE = "Authorize"
    BOOT_NOTIFICATION = "BootNotification"
    CANCEL_RESERVATION = "CancelReservation"
    CERTIFICATE_SIGNED = "CertificateSigned"
    CHANGE_AVAILABILITY = "ChangeAvailability"
    CLEAR_CACHE = "ClearCache"
    CLEAR_CHARGING_PROFILE = "ClearChargingProfile"
    CLEAR_DISPLAY_MESSAGE = "ClearDisplayMessage"
    CLEAR_VARIABLE_MONITORING = "ClearVariableMonitoring"
    CLEARED_CHARGING_LIMIT = "ClearedChargingLimit"
    COST_UPDATED = "CostUpdated"
    CUSTOMER_INFORMATION = "CustomerInformation"
    DATA_TRANSFER = "DataTransfer"
    DELETE_CERTIFICATE = "DeleteCertificate"
    FIRMWARE_STATUS_NOTIFICATION = "FirmwareStatusNotification"
    GET15118_EV_CERTIFICATE = "Get15118EVCertificate"
    GET_BASE_REPORT = "GetBaseReport"
    GET_CERTIFICATE_STATUS = "GetCertificateStatus"
    GET_CHARGING_PROFILES = "GetChargingProfiles"
    GET_COMPOSITE_SCHEDULE = "GetCompositeSchedule"
    GET_DISPLAY_MESSAGES = "GetDisplayMessages"
    GET_INSTALLED_CERTIFICATE_IDS = "GetInstalledCertificateIds"
    GET_LOCAL_LIST_VERSION = "GetLocalListVersion"
    GET_LOG = "GetLog"
    GET_MONITORING_REPORT = "GetMonitoringReport"
    GET_REPORT = "GetReport"
    GET_TRANSACTION_STATUS = "GetTransactionStatus"
    GET_VARIABLES = "GetVariables"
    HEARTBEAT = "Heartbeat"
    INSTALL_CERTIFICATE = "InstallCertificate"
    LOG_STATUS_NOTIFICATION = "LogStatusNotification"
    METER_VALUES = "MeterValues"
    NOTIFY_CHARGING_LIMIT = "NotifyChargingLimit"
    NOTIFY_CUSTOMER_INFORMATION = "NotifyCustomerInformation"
    NOTIFY_DISPLAY_MESSAGES = "NotifyDisplayMessages"
    NOTIFY_EV_CHARGING_NEEDS = "NotifyEVChargingNeeds"
    NOTIFY_EV_CHARGING_SCHEDULE = "NotifyEVChargingSchedule"
    NOTIFY_EVENT = "NotifyEvent"
    NOTIFY_MONITORING_REPORT = "NotifyMonitoringReport"
    NOTIFY_REPORT = "NotifyReport"
    PUBLISH_FIRMWARE = "PublishFirmware"
    PUBLISH_FIRMWARE_STATUS_NOTIFICATION = "PublishFirmwareStatusNotification"
    REPORT_CHARGING_PROFILES = "ReportChargingProfiles"
    REQUEST_START_TRANSACTION = "RequestStartTransaction"
    REQUEST_STOP_TRANSACTION = "RequestStopTransaction"
    RESERVATION_STATUS_UPDATE = "ReservationStatusUpdate"
    RESERVE_NOW = "ReserveNow"
    RESET = "Reset"
    SECURITY_EVENT_NOTIFICATION = "SecurityEventNotification"
    SEND_LOCAL_LIST = "SendLocalList"
    SET_CHARGING_PROFILE = "SetChargingProfile"
    SET_DISPLAY_MESSAGE = "SetDisplayMessage"
    SET_MONITORING_BASE = "SetMonitoringBase"
    SET_MONITORING_LEVEL = "SetMonitoringLevel"
    SET_NETWORK_PROFILE = "SetNetworkProfile"
    SET_VARIABLE_MONITORING = "SetVariableMonitoring"
    SET_VARIABLES = "SetVariables"
    SIGN_CERTIFICATE = "SignCertificate"
    STATUS_NOTIFICATION = "StatusNotification"
    TRANSACTION_EVENT = "TransactionEvent"
    TRIGGER_MESSAGE = "TriggerMessage"
    UNLOCK_CONNECTOR = "UnlockConnector"
    UNPUBLISH_FIRMWARE = "UnpublishFirmware"
    UPDATE_FIRMWARE = "UpdateFirmware"


class Kind(StrEnum):
    """Which of an action's two schemas a payload has to fit."""

    REQUEST = "Request"
    RESPONSE = "Response"


class Role(StrEnum):
    """Which end of the connection a session serves."""

    CSMS = "CSMS"
    CHARGING_STATION = "ChargingStation"


FROM_STATION: Final = frozenset(
    {
        Action.AUTHORIZE,
        Action.BOOT_NOTIFICATION,
        Action.CLEARED_CHARGING_LIMIT,
        Action.DATA_TRANSFER,
        Action.FIRMWARE_STATUS_NOTIFICATION,
        Action.GET15118_EV_CERTIFICATE,
        Action.GET_CERTIFICATE_STATUS,
        Action.HEARTBEAT,
        Action.LOG_STATUS_NOTIFICATION,
        Action.METER_VALUES,
        Action.NOTIFY_CHARGING_LIMIT,
        Action.NOTIFY_CUSTOMER_INFORMATION,
        Action.NOTIFY_DISPLAY_MESSAGES,
        Action.NOTIFY_EV_CHARGING_NEEDS,
        Action.NOTIFY_EV_CHARGING_SCHEDULE,
        Action.NOTIFY_EVENT,
        Action.NOTIFY_MONITORING_REPORT,
        Action.NOTIFY_REPORT,
        Action.PUBLISH_FIRMWARE_STATUS_NOTIFICATION,
        Action.REPORT_CHARGING_PROFILES,
        Action.RESERVATION_STATUS_UPDATE,
        Action.SECURITY_EVENT_NOTIFICATION,
        Action.SIGN_CERTIFICATE,
        Action.STATUS_NOTIFICATION,
        Action.TRANSACTION_EVENT,
    }
)
FROM_CSMS: Final = frozenset(
    {
        Action.CANCEL_RESERVATION,
        Action.CERTIFICATE_SIGNED,
        Action.CHANGE_AVAILABILITY,
        Action.CLEAR_CACHE,
        Action.CLEAR_CHARGING_PROFILE,
        Action.CLEAR_DISPLAY_MESSAGE,
        Action.CLEAR_VARIABLE_MONITORING,
        Action.COST_UPDATED,
        Action.CUSTOMER_INFORMATION,
        Action.DATA_TRANSFER,
        Action.DELETE_CERTIFICATE,
        Action.GET_BASE_REPORT,
        Action.GET_CHARGING_PROFILES,
        Action.GET_COMPOSITE_SCHEDULE,
        Action.GET_DISPLAY_MESSAGES,
        Action.GET_INSTALLED_CERTIFICATE_IDS,
        Action.GET_LOCAL_LIST_VERSION,
        Action.GET_LOG,
        Action.GET_MONITORING_REPORT,
        Action.GET_REPORT,
        Action.GET_TRANSACTION_STATUS,
        Action.GET_VARIABLES,
        Action.INSTALL_CERTIFICATE,
        Action.PUBLISH_FIRMWARE,
        Action.REQUEST_START_TRANSACTION,
        Action.REQUEST_STOP_TRANSACTION,
        Action.RESERVE_NOW,
        Action.RESET,
        Action.SEND_LOCAL_LIST,
        Action.SET_CHARGING_PROFILE,
        Action.SET_DISPLAY_MESSAGE,
        Action.SET_MONITORING_BASE,
        Action.SET_MONITORING_LEVEL,
        Action.SET_NETWORK_PROFILE,
        Action.SET_VARIABLE_MONITORING,
        Action.SET_VARIABLES,
        Action.TRIGGER_MESSAGE,
        Action.UNLOCK_CONNECTOR,
        Action.UNPUBLISH_FIRMWARE,
        Action.UPDATE_FIRMWARE,
    }
)
SENT_BY: Final[Mapping[Role, frozenset[Action]]] = {
    Role.CHARGING_STATION: FROM_STATION,
    Role.CSMS: FROM_CSMS,
}
RECEIVED_BY: Final[Mapping[Role, frozenset[Action]]] = {
    Role.CHARGING_STATION: FROM_CSMS,
    Role.CSMS: FROM_STATION,
}
