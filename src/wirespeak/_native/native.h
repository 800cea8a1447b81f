/* Shared ground of the native part: bounded reads, the two tables that Python sees, pools and hashing.
 *
 * Input is hostile. Every byte of a capture is read through a `view`, whose readers answer 0 beyond its end;
 * every loop over input is bounded by that input's size.
 */
#ifndef WIRESPEAK_NATIVE_H
#define WIRESPEAK_NATIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "bytes of the network are swapped unconditionally");

#define EXPORT __attribute__((visibility("default")))
#define NONE UINT32_MAX
#define NO_VLAN UINT16_MAX
#define SECOND INT64_C(1000000000)
#define ARRAY_LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* ---- bounded reads ------------------------------------------------------------------------------------- */

struct view {
    const uint8_t *at;
    size_t size;
};

static inline struct view view_from(struct view v, size_t offset) {
    return offset < v.size ? (struct view){v.at + offset, v.size - offset} : (struct view){v.at, 0};
}

static inline struct view view_first(struct view v, size_t size) {
    return (struct view){v.at, size < v.size ? size : v.size};
}

static inline uint8_t read8(struct view v, size_t offset) { return offset < v.size ? v.at[offset] : 0; }

static inline uint16_t read16(struct view v, size_t offset) {
    if (v.size < 2 || offset > v.size - 2) return (uint16_t)(read8(v, offset) << 8);
    uint16_t value;
    memcpy(&value, v.at + offset, 2);
    return __builtin_bswap16(value);
}

static inline uint32_t read32(struct view v, size_t offset) {
    if (v.size < 4 || offset > v.size - 4) return (uint32_t)read16(v, offset) << 16 | (offset <= SIZE_MAX - 2 ? read16(v, offset + 2) : 0u);
    uint32_t value;
    memcpy(&value, v.at + offset, 4);
    return __builtin_bswap32(value);
}

static inline uint16_t read16_little(struct view v, size_t offset) { return __builtin_bswap16(read16(v, offset)); }

/* Copies `size` bytes, zeros where the view has none. */
static inline void read_bytes(struct view v, size_t offset, void *out, size_t size) {
    if (v.size >= size && offset <= v.size - size) {
        memcpy(out, v.at + offset, size);
        return;
    }
    memset(out, 0, size);
    if (offset < v.size) memcpy(out, v.at + offset, v.size - offset);
}

/* How two addresses are ordered, as memcmp says. */
static inline int address_order(const uint8_t a[16], const uint8_t b[16]) {
    for (int i = 0; i < 16; i += 8) {
        uint64_t x, y;
        memcpy(&x, a + i, 8);
        memcpy(&y, b + i, 8);
        if (x != y) return __builtin_bswap64(x) < __builtin_bswap64(y) ? -1 : 1;
    }
    return 0;
}

static inline bool starts_with(struct view v, const char *text) {
    size_t size = strlen(text);
    return v.size >= size && memcmp(v.at, text, size) == 0;
}

/* Whether so many bytes are equal, for sizes that are known when this is compiled. */
static inline bool same_bytes(const void *a, const void *b, size_t size) {
    const uint8_t *x = a, *y = b;
    uint64_t differ = 0;
    for (; size >= 8; x += 8, y += 8, size -= 8) {
        uint64_t left, right;
        memcpy(&left, x, 8);
        memcpy(&right, y, 8);
        differ |= left ^ right;
    }
    for (; size; x++, y++, size--) differ |= (uint64_t)(*x ^ *y);
    return differ == 0;
}

/* ---- tables Python sees -------------------------------------------------------------------------------- */
/* Each is declared once, here: FIELD(C type, NumPy format, name, array suffix). Python builds its dtype from
 * what `wirespeak_field` answers. */

enum protocol { ICMP = 1, IGMP = 2, IN_IPV4 = 4, TCP = 6, UDP = 17, IN_IPV6 = 41, IN_GRE = 47, ICMP6 = 58, SCTP = 132, ARP = 256, IEEE_802_15_4 = 257, NO_PROTOCOL = UINT16_MAX };
/* Protocols whose flows have ports. */
static inline bool has_ports(uint16_t protocol) { return protocol == TCP || protocol == UDP || protocol == SCTP; }

enum fragment { WHOLE, FIRST_FRAGMENT, LATER_FRAGMENT };
enum tunnel { NO_TUNNEL, IPV4_IN_IPV4, IPV4_IN_IPV6, IPV6_IN_IPV4, IPV6_IN_IPV6, GRE, VXLAN, GTP_U };
enum tcp_flag { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16, URG = 32, ECE = 64, CWR = 128, FLAGS = 8 };

#define PACKET_FIELDS(FIELD)                                                                                  \
    FIELD(int64_t, "<i8", time_ns, )             /* ns since 1970 UTC */                                      \
    FIELD(int64_t, "<i8", payload_offset, )      /* where the payload starts in the capture's bytes */        \
    FIELD(uint32_t, "<u4", payload_captured, )   /* payload bytes present in the capture */                   \
    FIELD(uint32_t, "<u4", payload_bytes, )      /* payload bytes that were on the wire */                    \
    FIELD(uint32_t, "<u4", network_bytes, )      /* IP total length; 28 for ARP */                            \
    FIELD(uint32_t, "<u4", tcp_sequence, )                                                                    \
    FIELD(uint16_t, "<u2", tcp_window, )         /* as sent: scaling is not applied */                        \
    FIELD(uint8_t, "(16,)u1", src, [16])         /* IPv4 addresses fill the last four bytes */                \
    FIELD(uint8_t, "(16,)u1", dst, [16])                                                                      \
    FIELD(uint8_t, "(6,)u1", src_mac, [6])                                                                    \
    FIELD(uint8_t, "(6,)u1", dst_mac, [6])                                                                    \
    FIELD(uint16_t, "<u2", src_port, )                                                                        \
    FIELD(uint16_t, "<u2", dst_port, )                                                                        \
    FIELD(uint16_t, "<u2", vlan, )               /* 65535: none */                                            \
    FIELD(uint16_t, "<u2", protocol, )           /* IP protocol number; 256: ARP */                           \
    FIELD(uint16_t, "<u2", icmp_id, )                                                                         \
    FIELD(uint16_t, "<u2", arp_operation, )                                                                   \
    FIELD(uint32_t, "<u4", fragment_id, )        /* IP identification, of fragments alone */                  \
    FIELD(uint32_t, "<u4", tunnel_id, )          /* VXLAN network identifier */                               \
    FIELD(uint8_t, "u1", fragment, )             /* enum fragment */                                          \
    FIELD(uint8_t, "u1", tunnel, )               /* enum tunnel: what the packet was inside of */             \
    FIELD(uint8_t, "u1", depth, )                /* tunnels around it */                                      \
    FIELD(uint8_t, "u1", family, )               /* 4, 6, or 15: IEEE 802.15.4 */                              \
    FIELD(uint8_t, "u1", has_src_mac, )                                                                       \
    FIELD(uint8_t, "u1", has_dst_mac, )                                                                       \
    FIELD(uint8_t, "u1", tcp_flags, )                                                                         \
    FIELD(uint8_t, "u1", ttl, )                  /* or IPv6's hop limit */                                    \
    FIELD(uint8_t, "u1", icmp_type, )                                                                         \
    FIELD(uint8_t, "u1", icmp_code, )                                                                         \
    FIELD(uint8_t, "(6,)u1", arp_sender_mac, [6])                                                             \
    FIELD(uint8_t, "(6,)u1", arp_target_mac, [6])                                                             \
    /* The packet an ICMP error quotes; protocol 65535: none. For ICMP the ports are identifier and type. */   \
    FIELD(uint8_t, "(16,)u1", quoted_src, [16])                                                               \
    FIELD(uint8_t, "(16,)u1", quoted_dst, [16])                                                               \
    FIELD(uint16_t, "<u2", quoted_protocol, )                                                                 \
    FIELD(uint16_t, "<u2", quoted_src_port, )                                                                 \
    FIELD(uint16_t, "<u2", quoted_dst_port, )

/* Columns of frames that were found; Python owns the memory. */
struct frame_columns {
    const int64_t *time_ns, *offset;
    const uint32_t *captured, *length;
    const uint16_t *link_type;
    int64_t count;
};

/* Context counts, indexed [key][window][quantity]; the orders are those of schema.KEYS and schema.WINDOWS. */
enum context_key { BY_SRC, BY_DST, BY_PAIR, KEYS };
enum context_window { LAST_2_S, LAST_60_S, LAST_100, WINDOWS };
enum context_quantity { FLOWS, PORTS, HOSTS, UNANSWERED, INCOMPLETE, RESETS, ERRORS, QUANTITIES };

#define BOTH_WAYS(FIELD, type, format, name) FIELD(type, format, fwd_##name, ) FIELD(type, format, bwd_##name, )

/* Of a row: what is known while its flow lives, what each packet needs first; then what its measures give when it has ended. */
#define LIVING_FIELDS(FIELD)                                                                                  \
    FIELD(struct attachment *, "<u8", attached, ) /* what hangs on the row, or NULL: facts.h */               \
    FIELD(int64_t, "<i8", flow_id, )                                                                          \
    FIELD(int64_t, "<i8", first_seen, )                                                                       \
    FIELD(int64_t, "<i8", messages, )                                                                         \
    FIELD(int64_t, "<i8", answers, )                                                                          \
    FIELD(int64_t, "<i8", errors, )                                                                           \
    FIELD(uint8_t, "u1", application, )          /* index into schema.APPLICATIONS */                         \
    FIELD(uint8_t, "u1", cast, )                 /* enum cast */                                              \
    FIELD(uint8_t, "u1", state, )                /* enum state */                                             \
    FIELD(uint8_t, "u1", operation, )            /* enum operation */                                         \
    FIELD(uint8_t, "u1", tcp_flags, )            /* of the first packet */                                    \
    FIELD(uint8_t, "u1", family, )                                                                            \
    FIELD(uint8_t, "u1", tunnel, )                                                                            \
    FIELD(uint8_t, "u1", has_src_mac, )                                                                       \
    FIELD(uint16_t, "<u2", src_port, )                                                                        \
    FIELD(uint16_t, "<u2", dst_port, )                                                                        \
    FIELD(uint16_t, "<u2", vlan, )                                                                            \
    FIELD(uint16_t, "<u2", protocol, )                                                                        \
    FIELD(uint8_t, "(16,)u1", src, [16])                                                                      \
    FIELD(uint8_t, "(16,)u1", dst, [16])                                                                      \
    FIELD(uint8_t, "(6,)u1", src_mac, [6])                                                                    \
    FIELD(uint8_t, "(6,)u1", dst_mac, [6])                                                                    \
    FIELD(uint8_t, "u1", icmp_type, )            /* of the first packet */                                    \
    FIELD(uint8_t, "u1", icmp_code, )                                                                         \
    FIELD(uint8_t, "u1", has_dst_mac, )                                                                       \
    FIELD(uint32_t, "<u4", tunnel_id, )                                                                       \
    FIELD(uint32_t, "<u4", src_rebinds, )                                                                     \
    FIELD(uint32_t, "<u4", dst_rebinds, )                                                                     \
    FIELD(char, "S32", history, [32])                                                                         \
    FIELD(double, "<f8", handshake_s, )                                                                       \
    FIELD(double, "<f8", handshake_ack_s, )                                                                   \
    FIELD(double, "<f8", entropy_bits, )                                                                      \
    FIELD(int64_t, "<i8", logins, )                                                                           \
    FIELD(int64_t, "<i8", refusals, )                                                                         \
    FIELD(int64_t, "<i8", message_bytes, )                                                                    \
    FIELD(int64_t, "<i8", sql_signs, )                                                                        \
    FIELD(int64_t, "<i8", sql_words, )                                                                        \
    FIELD(int64_t, "<i8", markup_signs, )                                                                     \
    FIELD(int64_t, "<i8", script_words, )                                                                     \
    FIELD(int64_t, "<i8", unfinished_requests, )                                                              \
    FIELD(int64_t, "<i8", mac_conflict, )

#define MEASURED_FIELDS(FIELD)                                                                                \
    FIELD(int64_t, "<i8", last_seen, )                                                                        \
    FIELD(int64_t, "<i8", fwd_packets, )                                                                      \
    FIELD(int64_t, "<i8", bwd_packets, )                                                                      \
    FIELD(int64_t, "<i8", fwd_bytes, )                                                                        \
    FIELD(int64_t, "<i8", bwd_bytes, )                                                                        \
    FIELD(int64_t, "<i8", fwd_payload_bytes, )                                                                \
    FIELD(int64_t, "<i8", bwd_payload_bytes, )                                                                \
    BOTH_WAYS(FIELD, int64_t, "<i8", payload_min_bytes)                                                       \
    BOTH_WAYS(FIELD, int64_t, "<i8", payload_max_bytes)                                                       \
    BOTH_WAYS(FIELD, double, "<f8", payload_std_bytes)                                                        \
    BOTH_WAYS(FIELD, int64_t, "<i8", payload_packets)                                                         \
    BOTH_WAYS(FIELD, int64_t, "<i8", packet_min_bytes)                                                        \
    BOTH_WAYS(FIELD, int64_t, "<i8", packet_max_bytes)                                                        \
    BOTH_WAYS(FIELD, double, "<f8", packet_std_bytes)                                                         \
    BOTH_WAYS(FIELD, int64_t, "<i8", header_min_bytes)                                                        \
    BOTH_WAYS(FIELD, int64_t, "<i8", header_max_bytes)                                                        \
    FIELD(double, "<f8", payload_std_bytes, )                                                                 \
    FIELD(double, "<f8", packet_std_bytes, )                                                                  \
    FIELD(double, "<f8", iat_mean_s, )                                                                        \
    FIELD(double, "<f8", iat_std_s, )                                                                         \
    FIELD(double, "<f8", iat_min_s, )                                                                         \
    FIELD(double, "<f8", iat_max_s, )                                                                         \
    BOTH_WAYS(FIELD, double, "<f8", iat_mean_s)                                                               \
    BOTH_WAYS(FIELD, double, "<f8", iat_std_s)                                                                \
    BOTH_WAYS(FIELD, double, "<f8", iat_min_s)                                                                \
    BOTH_WAYS(FIELD, double, "<f8", iat_max_s)                                                                \
    FIELD(double, "<f8", active_mean_s, )                                                                     \
    FIELD(double, "<f8", active_std_s, )                                                                      \
    FIELD(double, "<f8", active_min_s, )                                                                      \
    FIELD(double, "<f8", active_max_s, )                                                                      \
    FIELD(double, "<f8", idle_mean_s, )                                                                       \
    FIELD(double, "<f8", idle_std_s, )                                                                        \
    FIELD(double, "<f8", idle_min_s, )                                                                        \
    FIELD(double, "<f8", idle_max_s, )                                                                        \
    BOTH_WAYS(FIELD, int64_t, "<i8", fin_packets)                                                             \
    BOTH_WAYS(FIELD, int64_t, "<i8", syn_packets)                                                             \
    BOTH_WAYS(FIELD, int64_t, "<i8", rst_packets)                                                             \
    BOTH_WAYS(FIELD, int64_t, "<i8", push_packets)                                                            \
    BOTH_WAYS(FIELD, int64_t, "<i8", ack_packets)                                                             \
    BOTH_WAYS(FIELD, int64_t, "<i8", urg_packets)                                                             \
    BOTH_WAYS(FIELD, int64_t, "<i8", ece_packets)                                                             \
    BOTH_WAYS(FIELD, int64_t, "<i8", cwr_packets)                                                             \
    BOTH_WAYS(FIELD, int64_t, "<i8", ttl)                                                                     \
    BOTH_WAYS(FIELD, int64_t, "<i8", window_bytes)                                                            \
    BOTH_WAYS(FIELD, int64_t, "<i8", retransmitted_packets)                                                   \
    BOTH_WAYS(FIELD, int64_t, "<i8", out_of_order_packets)                                                    \
    BOTH_WAYS(FIELD, int64_t, "<i8", missed_bytes)

#define FLOW_FIELDS(FIELD)                                                                                    \
    LIVING_FIELDS(FIELD) MEASURED_FIELDS(FIELD) FIELD(uint32_t, "(3,3,7)<u4", context, [KEYS][WINDOWS][QUANTITIES])

struct attachment;
#define MEMBER(type, format, name, suffix) type name suffix;
struct packet {
    PACKET_FIELDS(MEMBER)
};
struct flow_row {
    LIVING_FIELDS(MEMBER)
};
struct ended_row { /* begins as a flow_row does */
    FLOW_FIELDS(MEMBER)
};
#undef MEMBER
_Static_assert(offsetof(struct ended_row, last_seen) == sizeof(struct flow_row), "one is the beginning of the other");

enum cast { UNICAST, MULTICAST, BROADCAST };
enum state { S0, S1, SF, REJ, S2, S3, RSTO, RSTR, RSTOS0, RSTRH, SH, HALF, OTH, ONE_WAY, TWO_WAY };
enum operation {
    NO_OPERATION, ARP_REQUEST, ARP_REPLY, ARP_ANNOUNCE, ARP_PROBE, ICMP_ECHO, ICMP_UNREACHABLE, ICMP_EXCEEDED,
    ICMP_REDIRECT, ICMP_NEIGHBOUR, ICMP_ROUTER, ICMP_GROUP, OTHER_OPERATION,
};
enum application {
    APP_NONE, APP_HTTP, APP_MQTT, APP_TLS, APP_DTLS, APP_DNS, APP_MDNS, APP_SSDP, APP_DHCP, APP_NTP, APP_COAP,
    APP_MODBUS, APP_RTSP, APP_SSH, APP_TELNET, APP_FTP, APP_SMTP, APP_SNMP, APP_SYSLOG, APP_STUN, APP_DNP3,
    APP_BACNET, APP_QUIC, APP_RTP, APP_OTHER,
};

/* ---- pools, tables, hashing (store.c) ------------------------------------------------------------------ */

/* Growing array of equal items with a list of free ones. Pointers into it are lost when it grows. */
struct pool {
    uint8_t *items;
    size_t item_size;
    uint32_t taken, capacity, first_free;
};

void pool_start(struct pool *pool, size_t item_size);
void pool_end(struct pool *pool);
uint32_t pool_take(struct pool *pool); /* a zeroed item's index, or NONE without memory */
void pool_give(struct pool *pool, uint32_t index); /* its first four bytes change */

static inline void *pool_at(const struct pool *pool, uint32_t index) {
    return pool->items + (size_t)index * pool->item_size;
}

/* Open addressing from a hash to an index of a pool; whoever owns the pool knows the keys. */
struct table {
    uint64_t *slots; /* hash << 32 | index + 1, 0 when empty */
    uint32_t mask, used;
};
typedef bool (*same_key)(const void *owner, uint32_t index, const void *key);

bool table_start(struct table *table);
void table_end(struct table *table);
uint32_t table_find(const struct table *table, uint32_t hash, same_key same, const void *owner, const void *key);
bool table_insert(struct table *table, uint32_t hash, uint32_t index); /* false without memory */
void table_replace(struct table *table, uint32_t hash, uint32_t from, uint32_t to);
void table_remove(struct table *table, uint32_t hash, uint32_t index);

uint64_t hash_bytes(const void *bytes, size_t size, uint64_t seed);

/* Asks for the memory where a search will begin, so that it is there when it does. */
static inline void table_expect(const struct table *table, uint32_t hash) { __builtin_prefetch(&table->slots[hash & table->mask]); }

/* The index that such a search would try first, NONE where there is none. */
static inline uint32_t table_first(const struct table *table, uint32_t hash) { return (uint32_t)table->slots[hash & table->mask] - 1; }

/* ---- headers (headers.c) ----------------------------------------------------------------------------------- */

/* Decodes one frame; 0, or why it was set aside (enum reason), with the number that the reason names in `detail`. */
uint8_t decode_packet(struct packet *packet, const uint8_t *data, size_t size, const struct frame_columns *frames, int64_t row,
                    uint16_t *detail);

/* ---- keys (keys.c) -------------------------------------------------------------------------------------- */

/* Compared and hashed as bytes: it has no padding. */
struct flow_key {
    uint8_t low[16], high[16]; /* the addresses in order; for ARP sender and target */
    uint8_t mac[6];            /* of the sender, for ARP alone */
    uint16_t low_port, high_port, vlan, protocol;
    uint8_t family, tunnel;
    uint32_t tunnel_id;
};

bool key_of_packet(struct flow_key *key, const struct packet *packet);     /* whether its source is the low end */
void key_of_quoted(struct flow_key *key, const struct packet *packet);     /* of the packet an ICMP error quotes */
void key_of_answered(struct flow_key *key, const struct packet *packet);   /* of the request an ARP reply answers */

/* ---- measures of a flow's packets (measures.c) ----------------------------------------------------------- */

struct sizes {
    unsigned __int128 squares; /* exact, so that equal sizes vary by nothing */
    uint64_t sum;
    uint32_t least, most;
};

struct spans { /* of time; variance by Welford's recurrence */
    double sum, mean, spread, least, most;
    int64_t count;
};

/* What is known of the bytes that one side of a TCP connection sent: the end of what was seen, and the last hole before it. */
struct sequence {
    uint32_t next, hole_from, hole_to, opened_at;
    bool known, opened; /* `opened`: by the SYN at `opened_at` */
};

struct measures {
    struct sizes packet[2], payload[2];
    struct spans gap, side_gap[2], active, idle;
    int64_t packets[2], seen[2], last_seen, active_since; /* raw times: last packet by direction and of both */
    int64_t flags[2][FLAGS], payload_packets[2], retransmitted[2], out_of_order[2], missed[2];
    uint32_t header_least[2], header_most[2];
    uint16_t window[2];
    uint8_t ttl[2];
};

void measures_add(struct measures *measures, const struct packet *packet, int side);
void measures_put(const struct measures *measures, struct ended_row *row); /* all MEASURED_FIELDS */

/* Follows the sequence numbers of one side. BEYOND: the packet brought bytes beyond all that were seen; REPEATED: only
 * such as were seen. `known` is how many bytes of its payload were seen before. */
enum arrival { NOTHING_NEW, REPEATED, BEYOND };
enum arrival measures_segment(struct measures *measures, struct sequence *sequence, const struct packet *packet, int side, uint32_t *known);

/* ---- names and hashes (names.c, hashes.c) ---------------------------------------------------------------- */

enum { ADDRESS_TEXT = 40, SHA1_BLOCK = 64, SHA1_MOST = 55, SHA1_SIZE = 20, SHA1_LANES = 4, SHA256_SIZE = 32 };

size_t address_text(char *out, const uint8_t address[16], uint8_t family); /* its size, at most ADDRESS_TEXT */

/* Of several messages of at most SHA1_MOST bytes at once; each fills the beginning of its block, and zeros the rest. */
void sha1(uint8_t blocks[SHA1_LANES][SHA1_BLOCK], const size_t sizes[SHA1_LANES], uint8_t digests[SHA1_LANES][SHA1_SIZE]);

struct sha256 {
    uint32_t state[8];
    uint64_t size;
    uint8_t block[64];
};
void sha256_start(struct sha256 *sha);
void sha256_add(struct sha256 *sha, const void *bytes, size_t size);
void sha256_end(struct sha256 *sha, uint8_t digest[SHA256_SIZE]);

/* ---- conversations (conversation.c) -------------------------------------------------------------------- */

/* What is remembered of a flow's application between its packets. */
struct conversation {
    uint8_t *text;           /* of a request: its raw target, then the line of its header that is not over, or its body */
    uint32_t text_size, target_size;
    uint64_t body_left;      /* bytes of an announced body still to come */
    uint32_t frame_left[2];  /* bytes of a length-framed message still to come, by direction */
    struct voice *voices;    /* of both directions, where a message was cut between segments, or NULL */
    uint32_t rtp_source, rtp_sequence;
    uint8_t attempts;        /* payloads that could not be recognised */
    uint8_t request;         /* enum request_part */
    uint8_t request_side, is_post, has_credentials, is_chunked;
    uint8_t chunk_part;      /* enum chunk_part: where in a chunked body this is */
    bool rtp_heard;
};

struct speech {              /* one packet's payload and who says it */
    struct view payload;     /* what was captured of it */
    uint32_t size;           /* its size on the wire */
    uint16_t src_port, dst_port, protocol;
    uint8_t backward;        /* 1: from the flow's destination */
};

void conversation_hear(struct conversation *conversation, struct flow_row *row, const struct speech *speech);
bool conversation_pending(const struct conversation *conversation); /* a request has begun and not ended */
void conversation_end(struct conversation *conversation, struct flow_row *row);
void conversation_free(struct conversation *conversation); /* what it remembers */

/* What hangs on a row (facts.c). */
void conversation_rest(struct flow_row *row); /* reads facts of what was not finished, since nothing more comes */
void early_keep(struct flow_row *row, const struct packet *packet, int side, uint8_t most);
void attached_free(struct attachment *attached);

/* ---- context windows (context.c) ------------------------------------------------------------------------- */

enum value_kind { PORT_VALUE, HOST_VALUE, VALUES };
enum event_bit { BIT_UNANSWERED = 1, BIT_INCOMPLETE = 2, BIT_RESET = 4, BIT_ERROR = 8 };

struct address {
    uint8_t bytes[16];
    uint8_t family;
};

static inline struct address address_of(const uint8_t *bytes, uint8_t family) {
    struct address address = {.family = family};
    memcpy(address.bytes, bytes, 16);
    return address;
}

/* What happened to a row that the context of others depends on: it began, its bits changed, it left. */
enum notice_kind { ENTERS, CHANGES, LEAVES };
struct notice {
    int64_t clock;
    struct address src, dst;
    uint8_t kind, bits, has_port;
    uint16_t port;
    uint32_t past, row; /* where its context is kept while it lives, and which row it leaves in */
};

/* What came before a row, and its events in the lists of its keys. */
struct past {
    uint32_t event[KEYS];
    uint32_t context[KEYS][WINDOWS][QUANTITIES];
};

/* The hashes by which the keys of a row are found, and the port and the host that each key has of it. */
struct hashes {
    uint32_t key[KEYS], value[KEYS][VALUES];
    uint64_t host[2];
};

struct context {
    struct pool events, keys;
    struct table key_table, value_table;
    uint32_t live_keys, keys_at_sweep, listed, most; /* listed: events of all keys */
    int64_t forgotten;                               /* keys that were given up for want of room */
    uint64_t seed;
};

/* most: keys; above that the oldest are forgotten, and a window holds half as many flows at most. */
bool context_start(struct context *context, uint64_t seed, uint32_t most);
void context_end(struct context *context);

/* Finds the hashes and asks for the memory where they will be searched; then for the keys; then for what hangs on those. */
struct hashes context_hashes(const struct context *context, const struct notice *notice);
void context_expect_keys(const struct context *context, const struct hashes *hashes);
void context_expect_events(const struct context *context, const struct hashes *hashes);

/* Reads the windows into `past`, then adds the flow to them; false without memory. Its events must be given back with
 * `context_leave`. */
bool context_enter(struct context *context, struct past *past, const struct notice *notice, const struct hashes *hashes);
void context_change(struct context *context, const struct past *past, uint8_t bits);
void context_leave(struct context *context, const struct past *past);

/* ---- bindings (bindings.c) ------------------------------------------------------------------------------- */

/* Which link-layer address an address was last seen at. */
struct bindings {
    struct pool bindings, changes;
    struct table table;
    uint32_t live, at_sweep;
    uint64_t seed;
};

bool bindings_start(struct bindings *bindings, uint64_t seed);
void bindings_end(struct bindings *bindings);

/* Asks for the memory where a packet's addresses will be searched. */
void bindings_expect(const struct bindings *bindings, const struct packet *packet);

/* `remembered` is the caller's note of where an address was last found, NONE at first; it is checked, not trusted. */

/* Finds how often the addresses of the row changed, and whether `mac` is another than its source's. */
void binding_read(struct bindings *bindings, struct flow_row *row, const uint8_t *mac, int64_t clock, uint32_t remembered[2]);

bool binding_see(struct bindings *bindings, const uint8_t *address, uint8_t family, const uint8_t *mac, int64_t clock,
                 uint32_t *remembered);

#endif
