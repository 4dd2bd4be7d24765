/* Lossless JPEG-LS of one component: the scan's bytes, those that CharLS writes.

   Names and clauses are those of ITU-T T.87 (ISO/IEC 14495-1), with NEAR = 0 and the default
   parameters of C.2.4.1.1. Without loss the reconstructed samples are the source's, so contexts
   and predictions of a whole line are known before its first code is written: `model_line` has
   no branch and no dependence between samples, `code_line` keeps what must be sequential.
*/

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define LIKELY(condition) __builtin_expect((condition), 1)

enum { RESET = 64, MIN_C = -128, MAX_C = 127, CONTEXTS = 365 };
enum { ENCODED, NO_MEMORY, BEYOND_DEPTH };

typedef struct { /* A.2.1, in eight bytes: B is within 1 - N..0, N within 1..RESET */
    int32_t A;
    int8_t B, C, N, unused;
} Context;

typedef struct { /* contexts 365 and 366 (A.7.2) */
    int32_t A, N, Nn;
} RunContext;

typedef struct { /* bits of a line, not yet stuffed; the last `count` of `pending` wait, 0..7 */
    uint64_t pending;
    int count;
    uint8_t *at;
} Bits;

typedef struct {
    const void *samples;
    Py_ssize_t rows, columns, itemsize;
    int32_t maxval, T1, T2, T3;
    int qbpp, limit, run_index;
    Context contexts[CONTEXTS];
    RunContext run_contexts[2];
    uint16_t *above, *line; /* samples with one more at both ends */
    int16_t *gradients;     /* of `above`, quantized, one more at the end */
    uint16_t *context, *sample, *prediction;
    uint8_t *raw; /* the line's bits */
    Bits bits;
    uint8_t *stream; /* stuffed; begins with a byte that is no part of the scan */
    size_t size, capacity;
    uint64_t waiting; /* bits to stuff, in the most significant places */
    int waiting_count;
} Encoder;

static const uint8_t J[32] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,  2,  3,  3,  3,  3,
                              4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15};

INLINE int32_t smaller(int32_t a, int32_t b) { return a < b ? a : b; }
INLINE int32_t larger(int32_t a, int32_t b) { return a > b ? a : b; }
INLINE int bit_length(int32_t positive) { return 32 - __builtin_clz((uint32_t)positive); }

INLINE uint64_t big_endian(uint64_t value) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return __builtin_bswap64(value);
#else
    return value;
#endif
}

INLINE void store(uint8_t *at, uint64_t value) {
    value = big_endian(value);
    memcpy(at, &value, 8);
}

INLINE uint64_t load(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, 8);
    return big_endian(value);
}

/* Append 1 to 57 bits: with the 7 that may wait they fill the word. */
INLINE void append(Bits *bits, uint64_t code, int length) {
    bits->pending = bits->pending << length | code;
    bits->count += length;
    store(bits->at, bits->pending << (64 - bits->count));
    bits->at += bits->count >> 3;
    bits->count &= 7;
}

/* A.5.1: the least k with N * 2^k >= A. */
INLINE int golomb_k(int32_t A, int32_t N) {
    int k = larger(bit_length(A | 1) - bit_length(N), 0);
    return k + ((N << k) < A);
}

/* A.5.3: never more than `limit` bits. Those of a value's short form are 57 at most: up to
   16 bits a sample there are no more than 46 zeros, and less than 2^(17-k) of them. */
INLINE void append_golomb(Bits *bits, uint32_t MErrval, int k, int limit, int qbpp) {
    int zeros = (int)(MErrval >> k), escape = limit - qbpp - 1;
    if (LIKELY(zeros < escape)) {
        uint32_t rest = MErrval & ((UINT32_C(1) << k) - 1);
        append(bits, UINT64_C(1) << k | rest, zeros + 1 + k);
    } else {
        append(bits, 0, escape);
        append(bits, UINT64_C(1) << qbpp | (MErrval - 1), qbpp + 1);
    }
}

/* A.4.5: the error modulo RANGE, from -RANGE/2; RANGE is 2^qbpp, so it is a sign extension. */
INLINE int32_t reduce(int32_t Errval, int qbpp) {
    return (int32_t)((uint32_t)Errval << (32 - qbpp)) >> (32 - qbpp);
}

/* A.3.3 */
INLINE int32_t quantize(int32_t D, int32_t T1, int32_t T2, int32_t T3) {
    int32_t size = D < 0 ? -D : D;
    int32_t Q = (size > 0) + (size >= T1) + (size >= T2) + (size >= T3);
    return D < 0 ? -Q : Q;
}

/* The quantized D2 of the next line's samples, and so D1 of the samples before them. */
INLINE void quantize_line(const uint16_t *restrict line, Py_ssize_t count, int32_t T1, int32_t T2,
                          int32_t T3, int16_t *restrict gradients) {
    for (Py_ssize_t i = 0; i < count; i++)
        gradients[i] = (int16_t)quantize(line[i] - line[i - 1], T1, T2, T3);
}

/* A.3 and A.4.1: the context and the prediction of each sample of a line. Where the context's
   sign is negative, sample and prediction are mirrored (MAXVAL - value), which turns the sign of
   the error and of C. */
INLINE void model_line(const uint16_t *restrict above, const uint16_t *restrict line,
                       const int16_t *restrict gradients, Py_ssize_t columns, int32_t T1,
                       int32_t T2, int32_t T3, int32_t maxval, uint16_t *restrict context,
                       uint16_t *restrict sample, uint16_t *restrict prediction) {
    for (Py_ssize_t i = 0; i < columns; i++) {
        int32_t Ra = line[i - 1], Rb = above[i], Rc = above[i - 1];
        int32_t Q = 81 * gradients[i + 1] + 9 * gradients[i] + quantize(Rc - Ra, T1, T2, T3);
        int32_t Px = smaller(larger(Ra + Rb - Rc, smaller(Ra, Rb)), larger(Ra, Rb));
        int32_t mirror = Q < 0 ? maxval : 0;
        context[i] = (uint16_t)(Q < 0 ? -Q : Q);
        sample[i] = (uint16_t)(line[i] ^ mirror);
        prediction[i] = (uint16_t)(Px ^ mirror);
    }
}

/* A.4.2 to A.6.2. The branches here are seldom taken; a processor would guess the others wrong. */
INLINE void code_regular(Bits *bits, Context *context, int32_t Ix, int32_t Px, int32_t maxval,
                         int qbpp, int limit) {
    int32_t A = context->A, B = context->B, C = context->C, N = context->N;
    Px += C;
    if (!LIKELY((uint32_t)Px <= (uint32_t)maxval)) Px = Px < 0 ? 0 : maxval;
    int32_t Errval = reduce(Ix - Px, qbpp), negative = Errval >> 31;
    int k = golomb_k(A, N);
    int32_t inverted = (k == 0) & (2 * B <= -N);
    append_golomb(bits, (uint32_t)(2 * Errval ^ negative ^ inverted), k, limit, qbpp);

    A += (Errval ^ negative) - negative;
    B += Errval;
    if (N == RESET) A >>= 1, B >>= 1, N >>= 1;
    N++;
    int32_t lower = B <= -N, higher = B > 0;
    B = larger(smaller(B + (N & -lower) - (N & -higher), 0), 1 - N);
    C = smaller(larger(C + higher - lower, MIN_C), MAX_C);
    *context = (Context){A, (int8_t)B, (int8_t)C, (int8_t)N, 0};
}

/* A.7.2: the sample that ends a run. */
static void code_run_interruption(Encoder *e, int32_t Ix, int32_t Ra, int32_t Rb) {
    int RItype = Ra == Rb;
    RunContext *context = &e->run_contexts[RItype];
    int32_t A = context->A, N = context->N, Nn = context->Nn;
    int32_t Errval = reduce(Ra > Rb ? Rb - Ix : Ix - Rb, e->qbpp);
    int k = golomb_k(RItype ? A + (N >> 1) : A, N);
    int map = Errval > 0 ? k == 0 && 2 * Nn < N : Errval < 0 && (k || 2 * Nn >= N);
    int32_t EMErrval = 2 * abs(Errval) - RItype - map;
    append_golomb(&e->bits, (uint32_t)EMErrval, k, e->limit - J[e->run_index] - 1, e->qbpp);

    A += (EMErrval + 1 - RItype) >> 1;
    Nn += Errval < 0;
    if (N == RESET) A >>= 1, Nn >>= 1, N >>= 1;
    *context = (RunContext){A, N + 1, Nn};
}

/* A.7: a run from sample i on, perhaps of none. Returns the sample after it and what ends it. */
static Py_ssize_t code_run(Encoder *e, Py_ssize_t i) {
    const uint16_t *line = e->line;
    const uint16_t Ra = line[i - 1];
    Py_ssize_t start = i;
    while (i < e->columns && line[i] == Ra) i++;
    Py_ssize_t count = i - start;
    while (count >= (Py_ssize_t)1 << J[e->run_index]) {
        append(&e->bits, 1, 1);
        count -= (Py_ssize_t)1 << J[e->run_index];
        if (e->run_index < 31) e->run_index++;
    }
    if (i == e->columns) {
        if (count) append(&e->bits, 1, 1);
        return i;
    }
    append(&e->bits, (uint64_t)count, 1 + J[e->run_index]);
    code_run_interruption(e, line[i], Ra, e->above[i]);
    if (e->run_index) e->run_index--;
    return i + 1;
}

/* Into `raw`. A code has LIMIT bits or less, 64 at most, and so has a run with what ends it for
   each of its samples: 8 bytes a sample, one for the bits that waited, and 8 for `store`. */
INLINE void code_line(Encoder *e) {
    const uint16_t *context = e->context, *sample = e->sample, *prediction = e->prediction;
    const Py_ssize_t columns = e->columns;
    const int32_t maxval = e->maxval;
    const int qbpp = e->qbpp, limit = e->limit;
    Bits bits = e->bits; /* a copy, which stays in registers */
    bits.at = e->raw;
    for (Py_ssize_t i = 0; i < columns;) {
        if (LIKELY(context[i])) {
            Context *regular = &e->contexts[context[i]];
            code_regular(&bits, regular, sample[i], prediction[i], maxval, qbpp, limit);
            i++;
        } else {
            e->bits = bits;
            i = code_run(e, i);
            bits = e->bits;
        }
    }
    e->bits = bits;
}

/* Among the first six bytes, or it seems so; the seventh is seen as what was written last. */
INLINE int has_ff(uint64_t word) {
    return (word & (~word - UINT64_C(0x0101010101010101)) & UINT64_C(0x8080808080800000)) != 0;
}

/* A.1: the bytes of `raw` to the stream, with a 0 bit after each byte 0xFF. Two bytes hold 15
   bits or more, so n bytes become less than n + n / 8 + 8, and `store` takes 8. */
INLINE int stuff(Encoder *e) {
    const uint8_t *in = e->raw, *end = e->bits.at;
    size_t needed = e->size + (size_t)(end - in) + (size_t)(end - in) / 8 + 16;
    if (needed > e->capacity) {
        uint8_t *larger_stream = realloc(e->stream, needed + needed / 2);
        if (!larger_stream) return NO_MEMORY;
        e->stream = larger_stream;
        e->capacity = needed + needed / 2;
    }
    uint8_t *out = e->stream + e->size;
    uint64_t waiting = e->waiting;
    int count = e->waiting_count; /* 0..7; what follows them in `waiting` is 0 or begins `in` */
    while (in < end) {
        if (LIKELY(end - in >= 8 && out[-1] != 0xFF)) {
            uint64_t word = waiting | load(in) >> count;
            if (LIKELY(!has_ff(word))) {
                store(out, word);
                waiting = word << 56;
                in += 7;
                out += 7;
                continue;
            }
        }
        waiting |= (uint64_t)*in++ << (56 - count);
        count += 8;
        for (int taken; taken = out[-1] == 0xFF ? 7 : 8, taken <= count; count -= taken) {
            *out++ = (uint8_t)(waiting >> (64 - taken));
            waiting <<= taken;
        }
    }
    e->waiting = waiting;
    e->waiting_count = count;
    e->size = (size_t)(out - e->stream);
    return ENCODED;
}

/* A.1: 0 bits to the end of the byte; the last byte is not 0xFF. */
INLINE int end_scan(Encoder *e) {
    int padding = -e->bits.count & 7;
    e->bits.at = e->raw;
    if (padding) append(&e->bits, 0, padding);
    if (stuff(e) == NO_MEMORY) return NO_MEMORY;
    int is_after_ff = e->stream[e->size - 1] == 0xFF;
    if (is_after_ff || e->waiting_count > padding)
        e->stream[e->size++] = (uint8_t)(e->waiting >> (56 + is_after_ff));
    return ENCODED;
}

/* Returns all samples' bits, to see what is beyond the depth. */
INLINE int32_t read_line(const Encoder *e, Py_ssize_t row, uint16_t *restrict line) {
    const uint8_t *restrict bytes = (const uint8_t *)e->samples + row * e->columns * e->itemsize;
    int32_t seen = 0;
    if (e->itemsize == 2)
        memcpy(line, bytes, 2 * (size_t)e->columns);
    else
        for (Py_ssize_t i = 0; i < e->columns; i++) line[i] = bytes[i];
    for (Py_ssize_t i = 0; i < e->columns; i++) seen |= line[i];
    return seen;
}

INLINE int encode_lines(Encoder *e) {
    for (Py_ssize_t row = 0; row < e->rows; row++) {
        uint16_t *above = e->above, *line = e->line;
        if (read_line(e, row, line) > e->maxval) return BEYOND_DEPTH;
        /* Beyond the edges (A.2.1): what is above, and at the right the last sample again. */
        line[-1] = above[0];
        line[e->columns] = line[e->columns - 1];
        quantize_line(above, e->columns + 1, e->T1, e->T2, e->T3, e->gradients);
        model_line(above, line, e->gradients, e->columns, e->T1, e->T2, e->T3, e->maxval,
                   e->context, e->sample, e->prediction);
        code_line(e);
        if (stuff(e) == NO_MEMORY) return NO_MEMORY;
        e->above = line;
        e->line = above;
    }
    return end_scan(e);
}

/* The same code twice, for processors with vectors of 256 bits and shifts by any register. */
static int encode_anywhere(Encoder *e) { return encode_lines(e); }

#ifdef __x86_64__
__attribute__((target("avx2,bmi2"))) static int encode_avx2(Encoder *e) { return encode_lines(e); }
#define HAS_AVX2 (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2"))
#else
#define encode_avx2 encode_anywhere
#define HAS_AVX2 0
#endif

/* A.2.1 and C.2.4.1.1.1 */
static void begin(Encoder *e, int depth) {
    int32_t range = 1 << depth, maxval = range - 1, A = larger(2, (range + 32) >> 6);
    e->maxval = maxval;
    e->qbpp = depth;
    e->limit = 2 * (depth + larger(8, depth));
    if (maxval >= 128) {
        int32_t factor = (smaller(maxval, 4095) + 128) >> 8;
        e->T1 = factor + 2;
        e->T2 = factor * 4 + 3;
        e->T3 = factor * 17 + 4;
    } else { /* of two bits T3 should be T2: that would only give contexts other numbers */
        e->T1 = 2;
        e->T2 = 3;
        e->T3 = larger(4, 21 * range / 256);
    }
    for (int i = 0; i < CONTEXTS; i++) e->contexts[i] = (Context){A, 0, 0, 1, 0};
    e->run_contexts[0] = e->run_contexts[1] = (RunContext){A, 1, 0};
}

static int encode(Encoder *e, int depth) {
    size_t columns = (size_t)e->columns, stride = columns + 2;
    uint16_t *words = calloc(6 * stride, sizeof *words);
    int outcome = NO_MEMORY;
    e->raw = malloc(8 * columns + 16);
    e->capacity = (size_t)(e->rows * e->columns * e->itemsize) / 2 + 64;
    e->stream = malloc(e->capacity);
    if (words && e->raw && e->stream) {
        begin(e, depth);
        e->above = words + 1;
        e->line = words + stride + 1;
        e->gradients = (int16_t *)(words + 2 * stride);
        e->context = words + 3 * stride;
        e->sample = words + 4 * stride;
        e->prediction = words + 5 * stride;
        e->stream[0] = 0;
        e->size = 1;
        outcome = HAS_AVX2 ? encode_avx2(e) : encode_anywhere(e);
    }
    free(e->raw);
    free(words);
    return outcome;
}

static int fits(const Py_buffer *view, int depth) {
    return view->ndim == 2 && view->shape[0] >= 1 && view->shape[0] <= 65535 &&
           view->shape[1] >= 1 && view->shape[1] <= 65535 && depth >= 2 &&
           ((!strcmp(view->format, "B") && depth <= 8) ||
            (!strcmp(view->format, "H") && depth <= 16));
}

static PyObject *encode_scan(PyObject *Py_UNUSED(module), PyObject *arguments) {
    PyObject *samples, *scan = NULL;
    Py_buffer view;
    int depth;
    if (!PyArg_ParseTuple(arguments, "Oi", &samples, &depth)) return NULL;
    if (PyObject_GetBuffer(samples, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)) return NULL;
    if (!fits(&view, depth)) {
        PyErr_SetString(PyExc_ValueError, "not rows of samples of 8 or 16 bits, or a depth beyond");
        PyBuffer_Release(&view);
        return NULL;
    }
    Encoder e = {.samples = view.buf, .rows = view.shape[0], .columns = view.shape[1],
                 .itemsize = view.itemsize};
    int outcome;
    Py_BEGIN_ALLOW_THREADS
    outcome = encode(&e, depth);
    Py_END_ALLOW_THREADS
    if (outcome == NO_MEMORY)
        PyErr_NoMemory();
    else if (outcome == BEYOND_DEPTH)
        PyErr_SetString(PyExc_ValueError, "a sample is beyond the depth");
    else
        scan = PyBytes_FromStringAndSize((const char *)e.stream + 1, (Py_ssize_t)e.size - 1);
    free(e.stream);
    PyBuffer_Release(&view);
    return scan;
}

static PyMethodDef methods[] = {
    {"encode_scan", encode_scan, METH_VARARGS, "Encode samples of so many bits: a scan's bytes."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "dicomferry.pixels.codecs._jpegls", .m_methods = methods};

PyMODINIT_FUNC PyInit__jpegls(void) { return PyModuleDef_Init(&definition); }
