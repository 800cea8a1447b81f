/* SSDP: requests and responses in datagrams, like HTTP's. Source: UPnP Device Architecture 1.1, clause 1. */
#include "conversation.h"

static const struct {
    const char *begins, *method;
} METHODS[] = {{"M-SEARCH *", "M-SEARCH"}, {"NOTIFY *", "NOTIFY"}, {"HTTP/1.1 200", "RESPONSE"}};

static const char *method_of(struct view v) {
    for (size_t i = 0; i < ARRAY_LENGTH(METHODS); i++) {
        if (starts_with(v, METHODS[i].begins)) return METHODS[i].method;
    }
    return NULL;
}

bool ssdp_speaks(const struct speech *s) { return method_of(s->payload) != NULL; }

bool ssdp_tell(struct flow_row *row, const struct speech *s, bool last) {
    static const struct header_fact target[] = {{FACT_ssdp_target, "st:"}, {FACT_ssdp_target, "nt:"}};
    static const struct header_fact of_any[] = {
        {FACT_ssdp_server, "server:"}, {FACT_ssdp_server, "user-agent:"}, {FACT_ssdp_location, "location:"},
    };
    (void)last;
    if (fact_known(row, FACT_ssdp_server) && fact_known(row, FACT_ssdp_location)) return false;
    const char *method = method_of(s->payload);
    if (!method) return false;
    if (!fact_known(row, FACT_ssdp_method)) tell_headers(row, s->payload, target, ARRAY_LENGTH(target));
    fact_words(row, FACT_ssdp_method, method);
    tell_headers(row, s->payload, of_any, ARRAY_LENGTH(of_any));
    return false;
}
