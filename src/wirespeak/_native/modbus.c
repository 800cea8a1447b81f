/* Modbus over TCP. Sources: Modbus Messaging on TCP/IP 1.0b; Modbus Application Protocol 1.1b3. */
#include "conversation.h"

enum { PORT = 502, IDENTIFIER_AT = 6, FUNCTION_AT = 7, DATA_AT = 8, EXCEPTION = 0x80 };

static bool is_modbus(struct view v) {
    uint16_t size = read16(v, 4);
    return v.size >= 8 && read16(v, 2) == 0 && size >= 2 && size <= 254 && read8(v, FUNCTION_AT) != 0;
}

bool modbus_speaks(const struct speech *s) {
    struct view v = s->payload;
    uint8_t function = read8(v, FUNCTION_AT) & 127;
    bool whole_and_public = 6u + read16(v, 4) == s->size && (function <= 24 || function == 43);
    return is_modbus(v) && (whole_and_public || uses_port(s, PORT));
}

uint64_t modbus_size(struct view v) { return is_modbus(v) ? 6u + read16(v, 4) : 0; }

void modbus_hear(struct conversation *c, struct flow_row *row, const struct speech *s) {
    (void)c;
    count_message(row, s);
    row->errors += !from_client(row, s, PORT) && read8(s->payload, FUNCTION_AT) & EXCEPTION;
}

/* Whether the request of a function begins with a starting address. */
static bool has_address(uint8_t function) {
    static const uint8_t functions[] = {1, 2, 3, 4, 5, 6, 15, 16, 22, 23, 24};
    return memchr(functions, function, sizeof functions) != NULL;
}

bool modbus_tell(struct flow_row *row, const struct speech *s, bool last) {
    struct view v = s->payload;
    uint8_t function = read8(v, FUNCTION_AT);
    bool client = from_client(row, s, PORT), asks = client && !(function & EXCEPTION), fails = !client && function & EXCEPTION;
    bool addressed = asks && has_address(function);
    bool wanted = (asks && !fact_known(row, FACT_modbus_function)) || (addressed && !fact_known(row, FACT_modbus_address)) ||
                  (fails && !fact_known(row, FACT_modbus_exception));
    if (!wanted || !last) return wanted;
    if (asks) fact_number(row, FACT_modbus_unit, read8(v, IDENTIFIER_AT));
    if (asks) fact_number(row, FACT_modbus_function, function);
    if (addressed && v.size >= DATA_AT + 2) fact_number(row, FACT_modbus_address, read16(v, DATA_AT));
    if (fails && v.size > DATA_AT) fact_number(row, FACT_modbus_exception, read8(v, DATA_AT));
    return false;
}
