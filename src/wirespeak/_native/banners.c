/* What servers say before anything is asked: SSH's identification, Telnet's first line. Sources: RFC 4253, 854. */
#include "conversation.h"

enum { SSH_PORT = 22, TELNET_PORT = 23, LINE = 255 };
enum telnet_command { SE = 240, SB = 250, WILL = 251, DONT = 254, IAC = 255 };

bool ssh_speaks(const struct speech *s) { return starts_with(s->payload, "SSH-"); }

void ssh_hear(struct conversation *c, struct flow_row *row, const struct speech *s) {
    (void)c;
    if (ssh_speaks(s)) count_message(row, s);
}

bool ssh_tell(struct flow_row *row, const struct speech *s, bool last) {
    enum fact side = from_client(row, s, SSH_PORT) ? FACT_ssh_client : FACT_ssh_server;
    if (fact_known(row, side) || !ssh_speaks(s)) return false;
    struct view line = view_first(s->payload, find_byte(s->payload, '\n'));
    if (line.size == s->payload.size && line.size < LINE && !last) return true;
    if (line.size && line.at[line.size - 1] == '\r') line.size--;
    fact_captured(row, side, line);
    return false;
}

bool telnet_negotiates(const struct speech *s) {
    struct view v = s->payload;
    return read8(v, 0) == IAC && read8(v, 1) >= SB && read8(v, 1) < IAC;
}

bool telnet_speaks(const struct speech *s) { return uses_port(s, 23) || uses_port(s, 2323); }

/* The next byte of text, negotiation left out; false when there is none. */
static bool take_letter(struct view *rest, uint8_t *letter) {
    while (rest->size) {
        *letter = take8(rest);
        if (*letter != IAC) return true;
        uint8_t command = take8(rest);
        if (command == IAC) return true; /* the byte 255 itself */
        if (command >= WILL) take(rest, 1);
        if (command != SB) continue;
        while (rest->size && !(rest->at[0] == IAC && read8(*rest, 1) == SE)) take(rest, 1);
        take(rest, 2);
    }
    return false;
}

bool telnet_tell(struct flow_row *row, const struct speech *s, bool last) {
    if (fact_known(row, FACT_telnet_banner) || from_client(row, s, TELNET_PORT)) return false;
    uint8_t line[LINE], letter;
    size_t size = 0;
    bool ended = false;
    for (struct view rest = s->payload; !ended && size < LINE && take_letter(&rest, &letter);) {
        if (size && (letter == '\r' || letter == '\n')) ended = true;
        else if (size || letter > ' ') line[size++] = letter;
    }
    if (!ended && size < LINE && !last) return true;
    while (size && line[size - 1] <= ' ') size--;
    if (size) fact_captured(row, FACT_telnet_banner, (struct view){line, size});
    return false;
}
