/* Anonymising frames: what stands for what, and a page that is blank until something is allowed on it.
 *
 * The output of a frame begins as zeros. A layer or a message writes there what may stay (`keep`) and what stands for what
 * may not; what nobody wrote about never passes.
 */
#ifndef WIRESPEAK_ANONYMISE_H
#define WIRESPEAK_ANONYMISE_H

#include "native.h"

/* ---- AES-128 (aes.c) ------------------------------------------------------------------------------------- */

struct aes {
    uint32_t rounds[44];
};

void aes_start(struct aes *aes, const uint8_t key[16]);
void aes_block(const struct aes *aes, const uint8_t in[16], uint8_t out[16]);

/* ---- what stands for what (standins.c) --------------------------------------------------------------------- */

enum identifier { ID_IPV4, ID_IPV6, ID_MAC, ID_EUI64, ID_SHORT, ID_TUNNEL, ID_NAME, ID_DIGITS, IDENTIFIERS };
enum { WORD = 63 };

struct prefix_map { /* Crypto-PAn of Xu et al. */
    struct aes aes;
    uint8_t pad[16];
};

struct keys {
    uint8_t four[32], six[32], links[16], texts[16], streams[16];
};

struct entry {
    uint32_t at; /* in the arena: the original, then what stands for it */
    uint8_t kind, size;
    bool stays, public; /* it stands for itself by rule; it is a word of a protocol */
};

struct standins {
    struct prefix_map four, six;
    struct aes links, texts, streams;
    uint32_t *tops;           /* of IPv4: how the upper 16 bits flip, with a bit that says it is known */
    uint8_t six_seen[8], six_flips[8];
    bool six_known, plain, keep_vendor, failed;
    struct pool entries;
    struct table table;
    uint8_t *arena;
    size_t used, room;
    uint64_t seed;
};

bool standins_start(struct standins *s, const struct keys *keys, bool plain, bool keep_vendor, uint64_t seed);
void standins_end(struct standins *s);

/* What stands for an identifier of so many bytes (4, 16, 6, 8, 2, at most WORD), remembered. */
void stand_in(struct standins *s, enum identifier kind, const uint8_t *original, size_t size, uint8_t *out);
/* What is remembered of an identifier, NULL when it was not met. */
const struct entry *known_as(const struct standins *s, enum identifier kind, const uint8_t *bytes, size_t size);
/* Whether a word belongs to a protocol rather than to anybody. */
bool is_public(const uint8_t *word, size_t size);
bool is_kept_word(const uint8_t *word, size_t size); /* or to one that is written in lines (scrub_text.c) */

/* ---- the page (anonymise.c) ------------------------------------------------------------------------------------ */

enum payload_mode { SCRUB, KEEP, CUT };
enum tally { T_IPV4, T_IPV6, T_MAC, T_NAME, T_OTHER, TALLIES };

/* Where a packet goes, as it was and as it is: a multicast MAC repeats it. */
struct goal {
    uint8_t family, was[16], is[16];
};

struct page {
    struct standins *s;
    const uint8_t *in;
    uint8_t *out;
    enum payload_mode mode;
    uint64_t *tallies;                  /* of enum tally */
    uint64_t *drawer_packets, *drawer_bytes;
    struct goal *goal;                  /* to fill in by the next IP header */
    int depth;
    bool quoted, blank;                 /* within a packet that an error quotes; nothing of the payload is to be written */
    size_t cut;                         /* with CUT: where payload begins in the frame */
};

struct span {
    struct view bytes;
    size_t wire;
};

static inline struct span span_from(struct span s, size_t offset) {
    return (struct span){view_from(s.bytes, offset), offset < s.wire ? s.wire - offset : 0};
}
static inline struct span span_first(struct span s, size_t size) {
    return (struct span){view_first(s.bytes, size), size < s.wire ? size : s.wire};
}

static inline uint8_t *place(struct page *w, struct view v, size_t at) { return w->out + (v.at - w->in) + at; }

static inline void keep(struct page *w, struct view v, size_t at, size_t size) {
    if (at >= v.size) return;
    if (size > v.size - at) size = v.size - at;
    memcpy(place(w, v, at), v.at + at, size);
}

/* Writes bytes where all of them fit; those of an identifier that the capture cut off stay blank. */
static inline void put(struct page *w, struct view v, size_t at, const uint8_t *bytes, size_t size) {
    if (at < v.size && size <= v.size - at) memcpy(place(w, v, at), bytes, size);
}

/* A list of codes: as it is, but where it reads like a word. */
void keep_codes(struct page *w, struct view v, size_t at, size_t size);

static inline void put16(struct page *w, struct view v, size_t at, uint16_t value) {
    uint8_t bytes[2] = {(uint8_t)(value >> 8), (uint8_t)value};
    put(w, v, at, bytes, 2);
}

void put_ipv4(struct page *w, struct view v, size_t at);
void put_ipv6(struct page *w, struct view v, size_t at);
void put_mac(struct page *w, struct view v, size_t at);
/* Words of free text from `at` to before `end`: each alphanumeric run is replaced, the rest stays. */
void put_words(struct page *w, struct view v, size_t at, size_t end);
/* The same, but words of protocols stay. */
void put_public(struct page *w, struct view v, size_t at, size_t end);

/* What an application says (scrub.c). */
void scrub_payload(struct page *w, struct span payload, uint16_t protocol, uint16_t src_port, uint16_t dst_port);

typedef bool scrubber(struct page *w, struct view v); /* whether it recognised the message */
scrubber scrub_text, scrub_lines, scrub_ssh, scrub_ssh_packets, scrub_syslog;                  /* scrub_text.c */
scrubber scrub_dns, scrub_dns_stream, scrub_dhcp, scrub_dhcp6, scrub_ntp, scrub_snmp, scrub_stun; /* scrub_names.c */
scrubber scrub_tls, scrub_dtls;                                                                 /* scrub_tls.c */
scrubber scrub_mqtt, scrub_coap, scrub_modbus, scrub_dnp3, scrub_bacnet;                         /* scrub_things.c */

#endif
