/* MQTT 3.1, 3.1.1 and 5. Sources: the standards of OASIS (2014, 2019), the specification 3.1 of IBM. */
#include "conversation.h"

enum packet_type { CONNECT = 1, CONNACK = 2, PUBLISH = 3, SUBSCRIBE = 8 };
enum connect_flag { HAS_NAME = 0x80, HAS_PASSWORD = 0x40, HAS_WILL = 0x04 };

/* A number of seven bits a byte, the least first, of at most four bytes; false when it does not end. */
static bool take_number(struct view *rest, uint64_t *number) {
    *number = 0;
    for (int i = 0; i < 4 && rest->size; i++) {
        uint8_t byte = take8(rest);
        *number |= (uint64_t)(byte & 127) << 7 * i;
        if (!(byte & 128)) return true;
    }
    return false;
}

static struct view take_text(struct view *rest) { return take(rest, take16(rest)); }

static void skip_properties(struct view *rest) {
    uint64_t size = 0;
    if (take_number(rest, &size)) take(rest, size);
}

/* Size of a fixed header and of the rest of the packet, or 0 when this is none. */
static size_t header(struct view v, uint64_t *size) {
    uint8_t type = read8(v, 0) >> 4, flags = read8(v, 0) & 15;
    bool reserved = type == 6 || type == 8 || type == 10 ? flags != 2 : type != 3 && flags != 0;
    struct view rest = view_from(v, 1);
    if (type == 0 || reserved || !take_number(&rest, size)) return 0;
    return v.size - rest.size;
}

bool mqtt_connects(const struct speech *s) {
    uint64_t rest;
    struct view v = s->payload;
    size_t head = header(v, &rest);
    if (!head || v.at[0] != 0x10) return false;
    struct view body = view_from(v, head + 2);
    return (read16(v, head) == 4 && starts_with(body, "MQTT")) || (read16(v, head) == 6 && starts_with(body, "MQIsdp"));
}

/* Joined midway it has no mark. */
bool mqtt_goes_on(const struct speech *s) {
    uint64_t rest;
    return (uses_port(s, 1883) || uses_port(s, 1884)) && header(s->payload, &rest);
}

uint64_t mqtt_size(struct view v) {
    uint64_t rest;
    size_t head = header(v, &rest);
    return head ? head + rest : 0;
}

bool mqtt_is_short(struct view v) {
    for (size_t i = 1; i < v.size; i++) {
        if (v.at[i] < 128) return false;
    }
    return v.size > 0 && v.size < 5;
}

void mqtt_weigh(struct flow_row *row, struct view v, int sign) {
    uint64_t rest;
    size_t head = header(v, &rest);
    uint8_t type = read8(v, 0) >> 4, code = read8(v, head + 1);
    if (type == CONNECT && read8(v, head + 3 + read16(v, head)) & HAS_PASSWORD) row->logins += sign;
    if (type != CONNACK) return;
    if (code != 0) row->errors += sign;
    if (code == 4 || code == 5 || code == 134 || code == 135) row->refusals += sign;
}

void mqtt_hear(struct conversation *c, struct flow_row *row, const struct speech *s) {
    (void)c;
    count_message(row, s);
    mqtt_weigh(row, s->payload, +1);
}

static void tell_connect(struct flow_row *row, struct view rest) {
    take_text(&rest); /* the protocol's name */
    uint8_t version = take8(&rest) & 127; /* bridges set the highest bit */
    uint8_t flags = take8(&rest);
    take(&rest, 2); /* keep alive */
    if (version == 5) skip_properties(&rest);
    if (rest.size < 2) return;
    struct view client = take_text(&rest);
    fact_number(row, FACT_mqtt_version, version);
    fact_captured(row, FACT_mqtt_client_id, client);
    if (flags & HAS_WILL) {
        if (version == 5) skip_properties(&rest);
        take_text(&rest);
        take_text(&rest);
    }
    if (flags & HAS_NAME && rest.size >= 2) fact_captured(row, FACT_mqtt_username, take_text(&rest));
}

/* The first filter, where filters with an option byte each fill the packet. */
static struct view first_filter(struct view rest) {
    struct view first = {0};
    while (rest.size > 3) {
        struct view filter = take_text(&rest);
        if (!filter.size || !rest.size) return (struct view){0};
        take(&rest, 1);
        if (!first.size) first = filter;
    }
    return rest.size ? (struct view){0} : first;
}

/* Which version this is was perhaps said before the capture began: only one of the two ways fits. */
static void tell_subscribe(struct flow_row *row, struct view rest) {
    take(&rest, 2); /* its identifier */
    struct view filter = first_filter(rest);
    if (!filter.size) {
        skip_properties(&rest);
        filter = first_filter(rest);
    }
    if (filter.size) fact_captured(row, FACT_mqtt_topic, filter);
}

bool mqtt_tell(struct flow_row *row, const struct speech *s, bool last) {
    static const struct {
        enum packet_type type;
        enum fact fact;
    } told[] = {{CONNECT, FACT_mqtt_version}, {CONNACK, FACT_mqtt_reason}, {PUBLISH, FACT_mqtt_topic}, {SUBSCRIBE, FACT_mqtt_topic}};
    uint64_t size;
    struct view rest = view_from(s->payload, header(s->payload, &size));
    uint8_t type = read8(s->payload, 0) >> 4;
    size_t i = 0;
    while (i < ARRAY_LENGTH(told) && told[i].type != type) i++;
    if (i == ARRAY_LENGTH(told) || fact_known(row, told[i].fact)) return false;
    if (type == PUBLISH && rest.size >= 2 && rest.size >= 2u + read16(rest, 0)) {
        if (read16(rest, 0)) fact_captured(row, FACT_mqtt_topic, take_text(&rest)); /* else an alias stands for it */
        return false;
    }
    if (!last) return true;
    if (type == CONNECT) tell_connect(row, rest);
    if (type == CONNACK && rest.size >= 2) fact_number(row, FACT_mqtt_reason, read8(rest, 1));
    if (type == SUBSCRIBE) tell_subscribe(row, rest);
    return false;
}
