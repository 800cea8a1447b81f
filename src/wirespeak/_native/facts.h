/* What the application of a flow said: facts, each one text, found while the flow is alive and given with its row. */
#ifndef WIRESPEAK_FACTS_H
#define WIRESPEAK_FACTS_H

#include "native.h"

/* The facts of schema.FACTS, by the same names. */
#define FACTS(FACT)                                                                                           \
    FACT(http_method) FACT(http_host) FACT(http_uri) FACT(http_user_agent) FACT(http_status)                  \
    FACT(http_content_type) FACT(http_server)                                                                 \
    FACT(dns_query) FACT(dns_query_type) FACT(dns_rcode) FACT(dns_answers)                                    \
    FACT(mqtt_version) FACT(mqtt_client_id) FACT(mqtt_username) FACT(mqtt_reason) FACT(mqtt_topic)            \
    FACT(coap_method) FACT(coap_uri) FACT(coap_code)                                                          \
    FACT(modbus_unit) FACT(modbus_function) FACT(modbus_address) FACT(modbus_exception)                       \
    FACT(dnp3_source) FACT(dnp3_destination) FACT(dnp3_function)                                              \
    FACT(bacnet_service) FACT(bacnet_object)                                                                  \
    FACT(tls_version) FACT(tls_sni) FACT(tls_alpn) FACT(tls_ja4) FACT(tls_cipher)                             \
    FACT(dhcp_message) FACT(dhcp_hostname) FACT(dhcp_vendor_class) FACT(dhcp_parameters) FACT(dhcp_address)   \
    FACT(ntp_version) FACT(ntp_mode) FACT(ntp_stratum) FACT(ntp_reference)                                    \
    FACT(ssdp_method) FACT(ssdp_target) FACT(ssdp_server) FACT(ssdp_location)                                 \
    FACT(ssh_client) FACT(ssh_server) FACT(telnet_banner)

#define NUMBERED(name) FACT_##name,
enum fact { FACTS(NUMBERED) FACT_COUNT };
#undef NUMBERED
_Static_assert(FACT_COUNT <= 64, "each fact has a bit");

enum { FACT_ROOM = 255 }; /* bytes of a fact at most */

struct piece {
    uint8_t *bytes;
    uint32_t size;
};

/* What hangs on a row, where there is something: facts, what is gathered until a fact can be read, the first packets. */
struct attachment {
    uint64_t known;             /* a bit of each fact that is among `facts` */
    struct early *early;
    struct piece unfinished[2]; /* by direction */
    uint16_t size, room;        /* of `facts` */
    uint16_t early_count, early_room;
    uint8_t facts[];            /* of each its number, its size, its bytes */
};

static inline bool fact_known(const struct flow_row *row, enum fact fact) {
    return row->attached && row->attached->known >> fact & 1;
}

/* A fact being put into words; what does not fit any more is left out, with all that follows. */
struct saying {
    uint8_t bytes[FACT_ROOM], size;
    bool full;
};

void say(struct saying *saying, const char *text); /* our own words */
void say_number(struct saying *saying, uint64_t number);
void say_hex(struct saying *saying, uint32_t number, int digits);
void say_address(struct saying *saying, struct view address); /* of 4 or 16 bytes */
/* What was captured: printable ASCII and UTF-8 as they are, every other byte, a backslash and what divides parts as \xNN. */
void say_captured(struct saying *saying, struct view captured, const char *dividers);

/* Each keeps a fact unless it is known. Without memory a fact is only missing. */
void fact_put(struct flow_row *row, enum fact fact, const struct saying *saying);
void fact_captured(struct flow_row *row, enum fact fact, struct view captured);
void fact_words(struct flow_row *row, enum fact fact, const char *text);
void fact_number(struct flow_row *row, enum fact fact, uint64_t number);
void fact_forget(struct flow_row *row, enum fact fact);

/* A name of a number, or the number behind a prefix where it has none. */
struct named {
    uint16_t number;
    const char *name;
};
void fact_named(struct flow_row *row, enum fact fact, const struct named *names, size_t count, uint32_t number, const char *prefix);
#define FACT_NAMED(row, fact, names, number, prefix) fact_named(row, fact, names, ARRAY_LENGTH(names), number, prefix)

/* What one side said of a message that goes on in later segments. */
struct view unfinished(const struct flow_row *row, int side);
struct view gather(struct flow_row *row, int side, struct view more); /* all of it, or `more` alone without memory */
void let_go(struct flow_row *row, int side);

#endif
