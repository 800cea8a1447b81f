/* BACnet/IP. Source: ASHRAE 135, clauses 6 (network), 20 and 21 (application) and annex J. */
#include "conversation.h"

enum apdu_type { CONFIRMED, UNCONFIRMED, SIMPLE_ACK, COMPLEX_ACK, SEGMENT_ACK, ERROR };
enum { NO_APDU = 0x80, HAS_DESTINATION = 0x20, HAS_SOURCE = 0x08, SEGMENTED = 0x08, MOST_TAGS = 4 };

static const char *const CONFIRMED_SERVICES[] = {
    "acknowledgeAlarm", "confirmedCOVNotification", "confirmedEventNotification", "getAlarmSummary", "getEnrollmentSummary",
    "subscribeCOV", "atomicReadFile", "atomicWriteFile", "addListElement", "removeListElement", "createObject", "deleteObject",
    "readProperty", "readPropertyConditional", "readPropertyMultiple", "writeProperty", "writePropertyMultiple",
    "deviceCommunicationControl", "confirmedPrivateTransfer", "confirmedTextMessage", "reinitializeDevice", "vtOpen", "vtClose", "vtData",
    "authenticate", "requestKey", "readRange", "lifeSafetyOperation", "subscribeCOVProperty", "getEventInformation",
    "subscribeCOVPropertyMultiple", "confirmedCOVNotificationMultiple", "confirmedAuditNotification", "auditLogQuery",
};
static const char *const UNCONFIRMED_SERVICES[] = {
    "i-Am", "i-Have", "unconfirmedCOVNotification", "unconfirmedEventNotification", "unconfirmedPrivateTransfer",
    "unconfirmedTextMessage", "timeSynchronization", "who-Has", "who-Is", "utcTimeSynchronization", "writeGroup",
    "unconfirmedCOVNotificationMultiple", "unconfirmedAuditNotification", "who-Am-I", "you-Are",
};
static const char *const OBJECTS[] = {
    "analog-input", "analog-output", "analog-value", "binary-input", "binary-output", "binary-value", "calendar", "command", "device",
    "event-enrollment", "file", "group", "loop", "multi-state-input", "multi-state-output", "notification-class", "program", "schedule",
    "averaging", "multi-state-value", "trend-log", "life-safety-point", "life-safety-zone", "accumulator", "pulse-converter", "event-log",
    "global-group", "trend-log-multiple", "load-control", "structured-view", "access-door", "timer",
};

/* Requests that say which object they are about, and the tag before its identifier. */
static const struct {
    uint8_t type, service, tag;
} ABOUT[] = {
    {CONFIRMED, 1, 0x2C}, {CONFIRMED, 5, 0x1C}, {CONFIRMED, 6, 0xC4}, {CONFIRMED, 7, 0xC4}, {CONFIRMED, 8, 0x0C}, {CONFIRMED, 9, 0x0C},
    {CONFIRMED, 11, 0xC4}, {CONFIRMED, 12, 0x0C}, {CONFIRMED, 14, 0x0C}, {CONFIRMED, 15, 0x0C}, {CONFIRMED, 16, 0x0C},
    {CONFIRMED, 26, 0x0C}, {CONFIRMED, 28, 0x1C}, {UNCONFIRMED, 0, 0xC4}, {UNCONFIRMED, 1, 0xC4}, {UNCONFIRMED, 2, 0x2C},
    {UNCONFIRMED, 7, 0x2C},
};

bool bacnet_speaks(const struct speech *s) {
    struct view v = s->payload;
    return v.size >= 6 && v.at[0] == 0x81 && v.at[1] <= 0x0C && read16(v, 2) == s->size;
}

/* What the link and the network layer carry; empty when that is none of the application's. */
static struct view apdu_of(struct view v) {
    static const uint8_t forwarded = 0x04, original[] = {0x09, 0x0A, 0x0B};
    struct view rest = v, nothing = {0};
    take8(&rest);
    uint8_t function = take8(&rest);
    take(&rest, 2);
    if (function == forwarded) take(&rest, 6); /* where it came from */
    else if (!memchr(original, function, sizeof original)) return nothing;
    uint8_t version = take8(&rest), control = take8(&rest);
    if (version != 1 || control & NO_APDU) return nothing;
    for (int bit = HAS_DESTINATION; bit; bit = bit == HAS_DESTINATION ? HAS_SOURCE : 0) {
        if (!(control & bit)) continue;
        take(&rest, 2);
        take(&rest, take8(&rest));
    }
    if (control & HAS_DESTINATION) take(&rest, 1); /* hops left */
    return rest;
}

/* The object identifier behind such a tag, among the first few tags. */
static void tell_object(struct flow_row *row, struct view rest, uint8_t wanted) {
    for (int i = 0; i < MOST_TAGS && rest.size; i++) {
        uint8_t tag = take8(&rest), size = tag & 7;
        if (size > 4) return; /* long or nested: none of these comes before an identifier */
        struct view value = take(&rest, size);
        if (tag != wanted || value.size < 4) continue;
        uint32_t identifier = read32(value, 0), kind = identifier >> 22;
        struct saying words = {.size = 0};
        if (kind < ARRAY_LENGTH(OBJECTS)) say(&words, OBJECTS[kind]);
        else say_number(&words, kind);
        say(&words, ",");
        say_number(&words, identifier & 0x3FFFFF);
        fact_put(row, FACT_bacnet_object, &words);
        return;
    }
}

bool bacnet_tell(struct flow_row *row, const struct speech *s, bool last) {
    (void)last;
    if (fact_known(row, FACT_bacnet_service) && fact_known(row, FACT_bacnet_object)) return false;
    struct view rest = bacnet_speaks(s) ? apdu_of(s->payload) : (struct view){0};
    if (rest.size < 2) return false;
    uint8_t first = take8(&rest), type = first >> 4;
    if (type > ERROR || type == SEGMENT_ACK) return false; /* these name no service */
    if (type == CONFIRMED) take(&rest, 1); /* sizes that are accepted */
    if (type != UNCONFIRMED) take(&rest, 1); /* which request it is */
    if ((type == CONFIRMED || type == COMPLEX_ACK) && first & SEGMENTED) take(&rest, 2);
    if (!rest.size) return false;
    uint8_t service = take8(&rest);
    const char *const *names = type == UNCONFIRMED ? UNCONFIRMED_SERVICES : CONFIRMED_SERVICES;
    size_t count = type == UNCONFIRMED ? ARRAY_LENGTH(UNCONFIRMED_SERVICES) : ARRAY_LENGTH(CONFIRMED_SERVICES);
    if (service < count) fact_words(row, FACT_bacnet_service, names[service]);
    else fact_number(row, FACT_bacnet_service, service);
    for (size_t i = 0; i < ARRAY_LENGTH(ABOUT); i++) {
        if (ABOUT[i].type == type && ABOUT[i].service == service) tell_object(row, rest, ABOUT[i].tag);
    }
    return false;
}
