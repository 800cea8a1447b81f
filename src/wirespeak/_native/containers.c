/* Finding the packets of a capture: pcap, pcapng and snoop, through a window that moves over its bytes.
 *
 * The caller keeps the window: what is not yet read of it, followed by what came since. A record that is not whole
 * in it is left for the next call, or is where reading stops if nothing comes any more.
 *
 * Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng, RFC 1761, and libpcap's savefile manual page.
 */
#include "native.h"

#include <stdlib.h>

enum container { PCAP, PCAPNG, SNOOP };
enum { BLOCK_INTERFACE = 1, BLOCK_OLD_PACKET = 2, BLOCK_SIMPLE = 3, BLOCK_ENHANCED = 6, BLOCK_SECTION = 0x0A0D0D0A };
enum { MAXIMUM_RECORD = 1 << 28, BEGINNING = 28 };

struct interface {
    int64_t offset_s;
    uint32_t snap_length;
    uint16_t link_type;
    uint8_t resolution; /* as if_tsresol: 10^-n, or 2^-n with the high bit */
};

struct scan {
    struct view window;
    size_t position, wanted; /* where to go on in the window, and how much of it the record there needs */
    enum container container;
    bool big_endian, damaged;
    uint16_t link_type;
    uint32_t unit_ns, record_head; /* of pcap: what the lower half of a time counts, and bytes before a packet */
    struct interface *interfaces;
    uint32_t interface_count, interface_capacity;
    int64_t last_time;
};

/* Columns of the frames found; Python owns the memory. */
struct frames {
    int64_t *time_ns, *offset;
    uint32_t *captured, *length;
    uint16_t *link_type;
    int64_t count, room;
};

/* Where in the window reading goes on, how many bytes are needed there, and whether what stands there is no record. */
struct reached {
    uint64_t position, wanted;
    uint8_t damaged;
};

static uint32_t word(const struct scan *scan, size_t offset) {
    uint32_t big = read32(scan->window, offset);
    return scan->big_endian ? big : __builtin_bswap32(big);
}

/* The same, where it is known that the window has it. */
static uint32_t word_at(const struct scan *scan, const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, 4);
    return scan->big_endian ? __builtin_bswap32(value) : value;
}

static uint16_t half(const struct scan *scan, size_t offset) {
    uint16_t big = read16(scan->window, offset);
    return scan->big_endian ? big : __builtin_bswap16(big);
}

/* Whether the next `size` bytes are in the window. No record is larger than MAXIMUM_RECORD. */
static bool has(struct scan *scan, uint64_t size) {
    scan->wanted = size;
    scan->damaged = size > MAXIMUM_RECORD;
    return size <= scan->window.size - scan->position;
}

static void add(struct frames *frames, int64_t time_ns, size_t offset, uint32_t captured, uint32_t length,
                uint16_t link_type) {
    int64_t at = frames->count++;
    frames->time_ns[at] = time_ns;
    frames->offset[at] = (int64_t)offset;
    frames->captured[at] = captured;
    frames->length[at] = length > captured ? length : captured;
    frames->link_type[at] = link_type;
}

static bool read_pcap_record(struct scan *scan, struct frames *frames) {
    size_t at = scan->position, head = scan->record_head;
    if (!has(scan, head)) return false;
    const uint8_t *record = scan->window.at + at;
    uint32_t captured = word_at(scan, record + 8);
    if (!has(scan, (uint64_t)head + captured)) return false;
    int64_t time_ns = word_at(scan, record) * SECOND + (int64_t)word_at(scan, record + 4) * scan->unit_ns;
    add(frames, time_ns, at + head, captured, word_at(scan, record + 12), scan->link_type);
    scan->position = at + head + captured;
    return true;
}

static bool read_snoop_record(struct scan *scan, struct frames *frames) {
    enum { HEAD = 24 };
    size_t at = scan->position;
    if (!has(scan, HEAD)) return false;
    uint32_t captured = word(scan, at + 4), size = word(scan, at + 8);
    if (!has(scan, size)) return false;
    scan->damaged = size < HEAD || captured > size - HEAD;
    if (scan->damaged) return false;
    int64_t time_ns = word(scan, at + 16) * SECOND + (int64_t)word(scan, at + 20) * 1000;
    add(frames, time_ns, at + HEAD, captured, word(scan, at), scan->link_type);
    scan->position = at + size;
    return true;
}

/* From 1970 to 2116, so that the difference of two times cannot overflow. */
static int64_t bounded(__int128 time_ns) {
    return time_ns > INT64_MAX / 2 ? INT64_MAX / 2 : time_ns < 0 ? 0 : (int64_t)time_ns;
}

static int64_t interface_time(const struct interface *interface, uint32_t high, uint32_t low) {
    __int128 ticks = (__int128)((uint64_t)high << 32 | low);
    int exponent = interface->resolution & 0x7F;
    if (interface->resolution & 0x80) {
        ticks = exponent < 100 ? (ticks * SECOND) >> exponent : 0;
    } else {
        for (; exponent < 9; exponent++) ticks *= 10;
        for (; exponent > 9 && ticks; exponent--) ticks /= 10;
    }
    return bounded(ticks + (__int128)interface->offset_s * SECOND);
}

static bool read_interface(struct scan *scan, size_t body, size_t end) {
    if (scan->interface_count == scan->interface_capacity) {
        uint32_t capacity = scan->interface_capacity ? scan->interface_capacity * 2 : 8;
        struct interface *grown = realloc(scan->interfaces, capacity * sizeof *grown);
        if (!grown) return false;
        scan->interfaces = grown;
        scan->interface_capacity = capacity;
    }
    struct interface interface = {.resolution = 6, .link_type = half(scan, body), .snap_length = word(scan, body + 4)};
    for (size_t at = body + 8; at + 4 <= end;) {
        uint16_t code = half(scan, at), size = half(scan, at + 2);
        if (code == 0 || at + 4 + size > end) break;
        if (code == 9 && size == 1) interface.resolution = read8(scan->window, at + 4);
        if (code == 14 && size == 8) {
            uint32_t first = word(scan, at + 4), second = word(scan, at + 8);
            uint64_t offset = scan->big_endian ? (uint64_t)first << 32 | second : (uint64_t)second << 32 | first;
            interface.offset_s = (int64_t)offset;
        }
        at += 4 + ((size + 3u) & ~3u);
    }
    scan->interfaces[scan->interface_count++] = interface;
    return true;
}

/* A packet block whose packet does not fit in it, or whose interface is unknown, ends the reading. */
static bool read_packet(struct scan *scan, struct frames *frames, uint32_t type, size_t body, size_t end) {
    bool simple = type == BLOCK_SIMPLE;
    size_t head = simple ? 4 : 20;
    if (end - body < head) return false;
    uint32_t number = simple ? 0 : type == BLOCK_OLD_PACKET ? half(scan, body) : word(scan, body);
    if (number >= scan->interface_count) return false;
    const struct interface *interface = &scan->interfaces[number];
    uint32_t length = word(scan, simple ? body : body + 16);
    uint32_t captured = simple ? length : word(scan, body + 12);
    if (simple) {
        if (interface->snap_length && captured > interface->snap_length) captured = interface->snap_length;
        if (captured > end - body - head) captured = (uint32_t)(end - body - head);
    }
    if (captured > end - body - head) return false;
    /* A simple packet block has no time: it takes the one before it. */
    if (!simple) scan->last_time = interface_time(interface, word(scan, body + 4), word(scan, body + 8));
    add(frames, scan->last_time, body + head, captured, length, interface->link_type);
    return true;
}

static bool read_block(struct scan *scan, struct frames *frames) {
    size_t at = scan->position;
    if (!has(scan, 12)) return false;
    if (read32(scan->window, at) == BLOCK_SECTION) { /* the same in both byte orders */
        uint32_t magic = read32(scan->window, at + 8);
        scan->damaged = magic != 0x1A2B3C4D && magic != 0x4D3C2B1A;
        if (scan->damaged) return false;
        scan->big_endian = magic == 0x1A2B3C4D;
        scan->interface_count = 0;
    }
    uint32_t type = word(scan, at), size = word(scan, at + 4);
    bool whole = has(scan, size);
    scan->damaged |= size < 12 || size % 4;
    if (!whole || scan->damaged) return false;
    size_t body = at + 8, end = at + size - 4;
    if (type == BLOCK_INTERFACE) scan->damaged = end - body < 8 || !read_interface(scan, body, end);
    if (type == BLOCK_ENHANCED || type == BLOCK_SIMPLE || type == BLOCK_OLD_PACKET) {
        scan->damaged = !read_packet(scan, frames, type, body, end);
    }
    if (!scan->damaged) scan->position = at + size;
    return !scan->damaged;
}

static uint16_t link_type_of_snoop(uint32_t number) {
    switch (number) {
        case 0: case 4: return 1; /* 802.3 and Ethernet */
        case 2: return 6;         /* 802.5 */
        case 8: return 10;        /* FDDI */
        default: return UINT16_MAX;
    }
}

/* A scan of a capture that begins with these bytes (BEGINNING of them, or all there are), its records from where `reached`
 * says; NULL when no capture begins so. */
EXPORT struct scan *wirespeak_scan_start(const uint8_t *bytes, size_t size, struct reached *reached) {
    struct scan scan = {.window = {bytes, size}, .unit_ns = 1000, .record_head = 16};
    uint32_t magic = read32(scan.window, 0);
    scan.big_endian = magic == 0xA1B2C3D4 || magic == 0xA1B23C4D || magic == 0xA1B2CD34;
    switch (scan.big_endian ? magic : __builtin_bswap32(magic)) {
        case 0xA1B2C3D4: break;
        case 0xA1B23C4D: scan.unit_ns = 1; break;
        case 0xA1B2CD34: scan.record_head = 24; break; /* Kuznetzov's: eight more bytes a packet */
        case BLOCK_SECTION: scan.container = PCAPNG; break;
        default:
            if (!starts_with(scan.window, "snoop") || read16(scan.window, 6) != 0) return NULL;
            scan.container = SNOOP;
            scan.big_endian = true;
    }
    if (scan.container == PCAPNG) {
        uint32_t order = read32(scan.window, 8);
        if (size < BEGINNING || (order != 0x1A2B3C4D && order != 0x4D3C2B1A)) return NULL;
    } else if (scan.container == SNOOP) {
        if (size < 16 || word(&scan, 8) != 2) return NULL;
        scan.link_type = link_type_of_snoop(word(&scan, 12));
        scan.position = 16;
    } else {
        if (size < 24) return NULL;
        scan.link_type = (uint16_t)word(&scan, 20); /* the upper half tells of frame check sequences */
        scan.position = 24;
    }
    struct scan *kept = malloc(sizeof *kept);
    if (kept) *kept = scan;
    *reached = (struct reached){.position = scan.position};
    return kept;
}

EXPORT void wirespeak_scan_end(struct scan *scan) {
    if (scan) free(scan->interfaces);
    free(scan);
}

/* Fills the columns with up to `room` frames of a window, from the position in `reached` on; `count` tells how many. */
EXPORT void wirespeak_scan_next(struct scan *scan, const uint8_t *window, size_t size, struct frames *frames, struct reached *reached) {
    static bool (*const readers[])(struct scan *, struct frames *) = {read_pcap_record, read_block, read_snoop_record};
    scan->window = (struct view){window, size};
    scan->position = reached->position;
    frames->count = 0;
    while (frames->count < frames->room && readers[scan->container](scan, frames)) {}
    *reached = (struct reached){scan->position, scan->wanted, scan->damaged};
}

/* Writes little-endian pcap records of the frames to `out`; returns the bytes written. The caller made room. */
EXPORT size_t wirespeak_write_records(const uint8_t *data, size_t size, const struct frames *frames, int64_t unit_ns,
                                      uint8_t *out) {
    uint8_t *at = out;
    for (int64_t i = 0; i < frames->count; i++) {
        uint64_t offset = (uint64_t)frames->offset[i];
        uint32_t captured = frames->captured[i];
        if (offset > size || captured > size - offset) break;
        uint64_t time = (uint64_t)frames->time_ns[i];
        uint32_t fields[4] = {(uint32_t)(time / SECOND), (uint32_t)(time % SECOND / (uint64_t)unit_ns), captured, frames->length[i]};
        for (size_t f = 0; f < 4; f++, at += 4) {
            for (int byte = 0; byte < 4; byte++) at[byte] = (uint8_t)(fields[f] >> 8 * byte);
        }
        memcpy(at, data + offset, captured);
        at += captured;
    }
    return (size_t)(at - out);
}
