/* DHCP for IPv4. Sources: RFC 2131, 2132; names of messages: IANA's BOOTP and DHCP parameters. */
#include "conversation.h"

enum option { PAD = 0, HOST_NAME = 12, REQUESTED_ADDRESS = 50, MESSAGE_TYPE = 53, PARAMETERS = 55, VENDOR_CLASS = 60, END = 255 };
enum { OPTIONS_AT = 240, YOUR_ADDRESS_AT = 16, FROM_CLIENT = 1 };

static const struct named MESSAGES[] = {
    {1, "DISCOVER"}, {2, "OFFER"}, {3, "REQUEST"}, {4, "DECLINE"}, {5, "ACK"}, {6, "NAK"}, {7, "RELEASE"}, {8, "INFORM"}, {9, "FORCERENEW"},
    {10, "LEASEQUERY"}, {11, "LEASEUNASSIGNED"}, {12, "LEASEUNKNOWN"}, {13, "LEASEACTIVE"},
};

static bool is_dhcp(struct view v) {
    return v.size >= OPTIONS_AT && (v.at[0] == 1 || v.at[0] == 2) && read32(v, 236) == 0x63825363;
}

bool dhcp_speaks(const struct speech *s) { return is_dhcp(s->payload) || uses_port(s, 547); }

static void tell_address(struct flow_row *row, struct view address) {
    struct saying words = {.size = 0};
    if (address.size != 4 || read32(address, 0) == 0) return;
    say_address(&words, address);
    fact_put(row, FACT_dhcp_address, &words);
}

static void tell_parameters(struct flow_row *row, struct view list) {
    struct saying words = {.size = 0};
    for (size_t i = 0; i < list.size; i++) {
        uint8_t before = words.size;
        if (i) say(&words, ",");
        say_number(&words, list.at[i]);
        if (words.full) words.size = before;
    }
    fact_put(row, FACT_dhcp_parameters, &words);
}

/* Text ends where padding with zeros begins (RFC 2132, section 2). */
static struct view unpadded(struct view text) {
    while (text.size && text.at[text.size - 1] == 0) text.size--;
    return text;
}

static void tell_option(struct flow_row *row, uint8_t option, struct view value, bool client) {
    if (option == MESSAGE_TYPE && value.size == 1) FACT_NAMED(row, FACT_dhcp_message, MESSAGES, value.at[0], "");
    if (!client) return;
    if (option == HOST_NAME) fact_captured(row, FACT_dhcp_hostname, unpadded(value));
    if (option == VENDOR_CLASS) fact_captured(row, FACT_dhcp_vendor_class, unpadded(value));
    if (option == PARAMETERS) tell_parameters(row, value);
    if (option == REQUESTED_ADDRESS) tell_address(row, value);
}

bool dhcp_tell(struct flow_row *row, const struct speech *s, bool last) {
    (void)last;
    if (!is_dhcp(s->payload)) return false;
    bool client = s->payload.at[0] == FROM_CLIENT;
    struct view rest = view_from(s->payload, OPTIONS_AT);
    while (rest.size && rest.at[0] != END) {
        uint8_t option = take8(&rest);
        if (option == PAD) continue;
        uint8_t size = take8(&rest);
        if (size > rest.size) break;
        tell_option(row, option, take(&rest, size), client);
    }
    if (!client) tell_address(row, view_first(view_from(s->payload, YOUR_ADDRESS_AT), 4));
    return false;
}
