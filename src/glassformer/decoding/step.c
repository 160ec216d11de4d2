/* The newest token of each row through all blocks of a decoder, and its logits: what written_out.py does with torch,
   in one piece. In float32, for processors; compiled.py builds this file, fills its structures and calls `step`.

   A token is so little work that its weights take longer to be read than to be multiplied. So nothing else may cost
   much: all threads stay awake from the first block to the last, each computes its share of the outputs of every
   product, and they wait for each other where one needs what another has made (TOGETHER). A number is always summed
   by one thread and in one order: it does not depend on how many threads there are, nor on the other rows. */

#include <math.h>
#include <omp.h>
#include <string.h>

/* Numbers that are computed at once, and rows that are multiplied together: as many as registers hold. */
#if defined(__AVX512F__)
#define LANES 16
#define TILE 8
#define EVENS 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODDS 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#else
#define LANES 8
#define TILE 6
#define EVENS 0, 2, 4, 6, 8, 10, 12, 14
#define ODDS 1, 3, 5, 7, 9, 11, 13, 15
#endif
#define PANEL (2 * LANES)      /* outputs whose weights lie together */
#define LINE 16                /* numbers that are read from memory together */
#define AHEAD 1024             /* keys and values are asked for so many numbers before they are needed: 4 KB */
#define INLINE static inline __attribute__((always_inline))
#define TOGETHER _Pragma("omp barrier")

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int ints __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef unsigned char bytes __attribute__((vector_size(LANES)));

/* Weights lie in panels: panel x input x PANEL outputs, the last panel filled up with zeros, and so is the bias. */
typedef struct { const float *weight, *bias; long inputs, outputs; } Linear;
/* LayerNorm is centred, RMSNorm is not; without a weight there is no norm. */
typedef struct { const float *weight, *bias; float epsilon; int centred; } Norm;
/* Keys and values of `length` tokens: rows x heads x tokens x features; `real` is 0 where a key is hidden. */
typedef struct { float *keys, *values; const unsigned char *real; long row, head, real_row, length; } Seen;
typedef struct { Norm norm; Linear project, output; } Attention;
typedef struct { Norm norm; Linear expand, contract; } FeedForward;
typedef struct { Attention own, across; FeedForward feed_forward; } Block;
typedef struct {
    const Block *blocks;
    const Seen *own, *memory; /* of each block; memory is what the encoder made of the source, if there is one */
    Norm norm;
    Linear head;              /* no weight: only hidden states are asked for */
    long n_blocks, n_heads, kv_heads, d_head, d_ff, activation, gated, pre_norm;
    float scale;              /* of the scores */
    long rows;
    const float *cos, *sin, *bias;                /* of the newest positions, where there are such */
    long rotation_row, bias_row, bias_head;
    float *x, *normed, *wide, *context, *inner, *scores, *logits;
    long scores_row;                              /* a row of scores for each thread */
} Step;

enum { RELU, GELU, GELU_TANH, SILU };

/* ------------------------------------------------------------------------------------- several numbers at once */

INLINE vec load(const float *from) { return *(const vec *)from; }
INLINE void store(float *to, vec x) { *(vec *)to = x; }
INLINE vec all(float x) { return x - (vec){0}; }
INLINE vec pick(ints where, vec a, vec b) { return (vec)((where & (ints)a) | (~where & (ints)b)); }
INLINE vec larger(vec a, vec b) { return pick(a > b, a, b); }
INLINE vec evens(vec a, vec b) { return __builtin_shufflevector(a, b, EVENS); }
INLINE vec odds(vec a, vec b) { return __builtin_shufflevector(a, b, ODDS); }
INLINE vec pairs(vec a, vec b) { return evens(a, b) + odds(a, b); }
INLINE long smaller(long a, long b) { return a < b ? a : b; }

INLINE float sum(vec x) {
    for (int n = 1; n < LANES; n *= 2) x = pairs(x, x);
    return x[0];
}

INLINE float largest(vec x) {
    for (int n = 1; n < LANES; n *= 2) x = larger(evens(x, x), odds(x, x));
    return x[0];
}

/* Whether each of the first n bytes is not 0; false for the others. */
INLINE ints are_set(const unsigned char *from, long n) {
    bytes b = {0};
    memcpy(&b, from, smaller(n, LANES));
    return __builtin_convertvector(b, ints) != 0;
}

/* The first n of them, the others 0. */
INLINE vec load_some(const float *from, long n) {
    vec x = {0};
    if (n >= LANES) return load(from);
    memcpy(&x, from, n * sizeof(float));
    return x;
}

INLINE void store_some(float *to, vec x, long n) {
    if (n >= LANES) store(to, x);
    else memcpy(to, &x, n * sizeof(float));
}

/* e^x = 2^n e^r, n whole and |r| <= ln(2) / 2, e^r by its series; 0 where x is below the smallest float's logarithm.
   Adding 1.5 * 2^23 rounds a float to a whole number. */
INLINE vec exponential(vec x) {
    vec limited = pick(x > all(88.0f), all(88.0f), x), whole = all(12582912.0f);
    vec n = limited * all(1.44269504f) + whole;
    ints power = (ints)n - (ints)whole;
    n -= whole;
    vec r = limited - n * all(0.693145752f) - n * all(1.42860677e-6f); /* ln(2) in two parts */
    vec e = all(1.0f / 5040) * r + all(1.0f / 720);
    e = e * r + all(1.0f / 120);
    e = e * r + all(1.0f / 24);
    e = e * r + all(1.0f / 6);
    e = e * r + all(0.5f);
    e = e * r + all(1.0f);
    e = e * r + all(1.0f);
    return pick(x < all(-87.0f), all(0.0f), e * (vec)((power + 127) << 23));
}

/* The activation. GELU is x times the normal distribution's probability below x: Abramowitz and Stegun 7.1.26, whose
   error is at most 7.5e-8 there. */
INLINE vec bend(vec x, long kind) {
    vec zero = all(0.0f), one = all(1.0f);
    if (kind == RELU) return pick(x < zero, zero, x);
    if (kind == SILU) return x / (one + exponential(-x));
    if (kind == GELU_TANH) {
        vec u = all(0.797884561f) * (x + all(0.044715f) * x * x * x); /* (1 + tanh u) / 2 = 1 / (1 + e^-2u) */
        return x / (one + exponential(-u - u));
    }
    vec z = pick(x < zero, -x, x) * all(0.707106781f), t = one / (one + all(0.3275911f) * z);
    vec p = all(1.061405429f) * t + all(-1.453152027f);
    p = p * t + all(1.421413741f);
    p = p * t + all(-0.284496736f);
    p = p * t + all(0.254829592f);
    vec beyond = all(0.5f) * p * t * exponential(-z * z);
    return x * pick(x < zero, beyond, one - beyond);
}

/* --------------------------------------------------------------------------------------- the parts of a block */

/* A few rows times one panel; `rows` is known when this is compiled, so that all sums stay in registers. */
INLINE void tile(const int rows, const Linear *l, long panel, const float *x, float *y, int add) {
    const float *w = l->weight + panel * PANEL * l->inputs, *bias = l->bias ? l->bias + panel * PANEL : 0;
    vec sums[TILE][2];
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < 2; i++) sums[r][i] = bias ? load(bias + i * LANES) : all(0.0f);
    for (long k = 0; k < l->inputs; k++, w += PANEL) {
        vec a = load(w), b = load(w + LANES);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            vec factor = all(x[r * l->inputs + k]);
            sums[r][0] += factor * a;
            sums[r][1] += factor * b;
        }
    }
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < 2; i++) {
            float *out = y + r * l->outputs + panel * PANEL + i * LANES;
            long left = l->outputs - panel * PANEL - i * LANES;
            if (left <= 0) continue;
            if (add) sums[r][i] += load_some(out, left);
            store_some(out, sums[r][i], left);
        }
}

/* y = x W + b, or with `add` y += x W + b: this thread's panels of all rows. */
static void multiply(const Linear *l, long rows, const float *x, float *y, int add, long thread, long threads) {
    long panels = (l->outputs + PANEL - 1) / PANEL;
    for (long p = panels * thread / threads; p < panels * (thread + 1) / threads; p++)
        for (long r = 0; r < rows; r += TILE) {
            const float *in = x + r * l->inputs;
            float *out = y + r * l->outputs;
            switch (smaller(rows - r, TILE)) {
            case 1: tile(1, l, p, in, out, add); break;
            case 2: tile(2, l, p, in, out, add); break;
            case 3: tile(3, l, p, in, out, add); break;
            case 4: tile(4, l, p, in, out, add); break;
            case 5: tile(5, l, p, in, out, add); break;
#if TILE > 6
            case 6: tile(6, l, p, in, out, add); break;
            case 7: tile(7, l, p, in, out, add); break;
#endif
            default: tile(TILE, l, p, in, out, add);
            }
        }
}

/* LayerNorm or RMSNorm of this thread's rows. */
static void normalise(const Norm *n, long rows, long width, const float *x, float *y, long thread, long threads) {
    for (long r = thread; r < rows; r += threads) {
        const float *in = x + r * width;
        float *out = y + r * width, mean = 0, square = 0;
        if (n->centred) {
#pragma omp simd reduction(+ : mean)
            for (long i = 0; i < width; i++) mean += in[i];
            mean /= width;
        }
#pragma omp simd reduction(+ : square)
        for (long i = 0; i < width; i++) square += (in[i] - mean) * (in[i] - mean);
        float scale = 1 / sqrtf(square / width + n->epsilon);
        for (long i = 0; i < width; i++) out[i] = (in[i] - mean) * scale * n->weight[i] + (n->bias ? n->bias[i] : 0);
    }
}

/* q k of LANES keys, the last one again and again where there are fewer: the sums of each key are added up in a tree
   over all keys. */
INLINE vec dots(const float *q, const float *keys, long width, long left) {
    vec sums[LANES];
#pragma GCC unroll 16
    for (long k = 0; k < LANES; k++) {
        const float *key = keys + smaller(k, left - 1) * width;
        sums[k] = all(0.0f);
        for (long i = 0; i < width; i += LANES) sums[k] += load_some(q + i, width - i) * load_some(key + i, width - i);
    }
#pragma GCC unroll 5
    for (long n = LANES / 2; n; n /= 2)
#pragma GCC unroll 16
        for (long k = 0; k < n; k++) sums[k] = pairs(sums[2 * k], sums[2 * k + 1]);
    return sums[0];
}

/* Have a line read that will be needed AHEAD numbers later: of the `size` numbers that are being read, or behind their
   end of those that come then. */
INLINE void ask(const float *now, const float *then, long place, long size) {
    __builtin_prefetch(place + AHEAD < size ? now + place + AHEAD : then + place + AHEAD - size);
}

/* The mixture of the values for one query of one head: softmax(q k * scale + bias) v; 0 where nothing may be seen.
   `next` are the keys that are read after these values. */
INLINE void mix(const float *q, const float *keys, const float *values, const unsigned char *real, const float *bias,
                const float *next, float scale, long length, const long width, float *scores, float *out) {
    static const unsigned char ones[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    vec most = all(-INFINITY), totals = all(0.0f);
    for (long k = 0; k < length; k += LANES) {
        long left = length - k;
        for (long i = 0; i < smaller(LANES, left) * width; i += LINE) ask(keys, values, k * width + i, length * width);
        vec s = dots(q, keys + k * width, width, left) * all(scale);
        if (bias) s += load_some(bias + k, left);
        if (real || left < LANES) s = pick(are_set(real ? real + k : ones, left), s, all(-INFINITY));
        store(scores + k, s);
        most = larger(s, most);
    }
    float top = largest(most);
    if (top == -INFINITY) {
        memset(out, 0, width * sizeof(float));
        return;
    }
    for (long k = 0; k < length; k += LANES) {
        vec e = exponential(load(scores + k) - all(top));
        store(scores + k, e);
        totals += e;
    }
    float total = sum(totals);
    for (long i = 0; i < width; i += PANEL) {
        vec sums[4][2] = {{{0}}};
        long left = width - i;
        for (long k = 0; k < length; k += 4)
#pragma GCC unroll 4
            for (long j = 0; j < 4; j++) { /* scores behind the last key are 0 */
                const float *value = values + smaller(k + j, length - 1) * width + i;
                ask(values, next, (k + j) * width + i, length * width);
                sums[j][0] += all(scores[k + j]) * load_some(value, left);
                if (left > LANES) {
                    ask(values, next, (k + j) * width + i + LANES, length * width);
                    sums[j][1] += all(scores[k + j]) * load_some(value + LANES, left - LANES);
                }
            }
        for (long h = 0; h < 2 && left > h * LANES; h++)
            store_some(out + i + h * LANES, ((sums[0][h] + sums[1][h]) + (sums[2][h] + sums[3][h])) / all(total),
                       left - h * LANES);
    }
}

/* Rotary positions: each pair of features (n, n + width / 2) is turned by its angle. */
static void turn(float *x, const float *cos, const float *sin, long width) {
    for (long a = 0, b = width / 2; b < width; a++, b++) {
        float first = x[a], second = x[b];
        x[a] = first * cos[a] - second * sin[a];
        x[b] = second * cos[b] + first * sin[b];
    }
}

/* Where the tokens of an item, a head of a row, begin. */
INLINE long place_of(const Seen *seen, long item, long heads) {
    return item / heads * seen->row + item % heads * seen->head;
}

/* Attention of this thread's share of all rows and heads, over the tokens so far (to which the newest one is added
   first) or over the memory. `wide` holds the queries of each row, and its newest key and value. */
static void attend(const Step *s, long outputs, const Seen *seen, int own, long thread, long threads) {
    long width = s->d_head, share = s->n_heads / s->kv_heads, items = s->rows * s->kv_heads;
    long first = items * thread / threads, end = items * (thread + 1) / threads;
    float *scores = s->scores + thread * s->scores_row;
    for (long item = first; item < end; item++) {
        long r = item / s->kv_heads, g = item % s->kv_heads, place = place_of(seen, item, s->kv_heads);
        float *keys = seen->keys + place, *values = seen->values + place;
        const float *next = seen->keys + place_of(seen, item + 1 < end ? item + 1 : first, s->kv_heads);
        const float *cos = own && s->cos ? s->cos + r * s->rotation_row : 0;
        const float *sin = cos ? s->sin + r * s->rotation_row : 0;
        const unsigned char *real = seen->real ? seen->real + r * seen->real_row : 0;
        if (own) {
            float *key = s->wide + r * outputs + (s->n_heads + g) * width, *value = key + s->kv_heads * width;
            if (cos) turn(key, cos, sin, width);
            memcpy(keys + (seen->length - 1) * width, key, width * sizeof(float));
            memcpy(values + (seen->length - 1) * width, value, width * sizeof(float));
        }
        for (long h = g * share; h < (g + 1) * share; h++) {
            float *q = s->wide + r * outputs + h * width, *out = s->context + (r * s->n_heads + h) * width;
            const float *bias = own && s->bias ? s->bias + r * s->bias_row + h * s->bias_head : 0;
            const float *then = h + 1 < (g + 1) * share ? keys : next; /* the heads of a group share their keys */
            if (cos) turn(q, cos, sin, width);
#define MIX(width) mix(q, keys, values, real, bias, then, s->scale, seen->length, width, scores, out)
            switch (width) { /* the usual widths are compiled apart */
            case 32: MIX(32); break;
            case 64: MIX(64); break;
            default: MIX(width);
            }
        }
    }
}

/* What lies between the two products of the feed-forward part: the activation, and with a gate the other half times
   that. */
static void bend_all(const Step *s, long thread, long threads) {
    long pieces = (s->d_ff + LANES - 1) / LANES, items = s->rows * pieces, outputs = s->d_ff * (s->gated ? 2 : 1);
    for (long item = items * thread / threads; item < items * (thread + 1) / threads; item++) {
        long r = item / pieces, i = item % pieces * LANES, left = s->d_ff - i;
        const float *in = s->wide + r * outputs + i;
        vec y = bend(load_some(in, left), s->activation);
        if (s->gated) y *= load_some(in + s->d_ff, left);
        store_some(s->inner + r * s->d_ff + i, y, left);
    }
}

/* ----------------------------------------------------------------------------------------------- all together */

/* pre-norm: what a part reads is normalised */
static const float *before(const Step *s, const Norm *n, long d_model, long thread, long threads) {
    if (!s->pre_norm) return s->x;
    normalise(n, s->rows, d_model, s->x, s->normed, thread, threads);
    TOGETHER
    return s->normed;
}

/* post-norm: the sum is */
static void after(const Step *s, const Norm *n, long d_model, long thread, long threads) {
    TOGETHER
    if (s->pre_norm) return;
    normalise(n, s->rows, d_model, s->x, s->x, thread, threads);
    TOGETHER
}

static void attention(const Step *s, const Attention *a, const Seen *seen, int own, long thread, long threads) {
    long d_model = a->output.outputs;
    multiply(&a->project, s->rows, before(s, &a->norm, d_model, thread, threads), s->wide, 0, thread, threads);
    TOGETHER
    attend(s, a->project.outputs, seen, own, thread, threads);
    TOGETHER
    multiply(&a->output, s->rows, s->context, s->x, 1, thread, threads);
    after(s, &a->norm, d_model, thread, threads);
}

static void feed_forward(const Step *s, const FeedForward *f, long thread, long threads) {
    long d_model = f->contract.outputs;
    multiply(&f->expand, s->rows, before(s, &f->norm, d_model, thread, threads), s->wide, 0, thread, threads);
    TOGETHER
    bend_all(s, thread, threads);
    TOGETHER
    multiply(&f->contract, s->rows, s->inner, s->x, 1, thread, threads);
    after(s, &f->norm, d_model, thread, threads);
}

/* x goes in as the embedded tokens and comes out as hidden states. */
void step(const Step *s, int n_threads) {
#pragma omp parallel num_threads(n_threads)
    {
        long thread = omp_get_thread_num(), threads = omp_get_num_threads();
        for (long n = 0; n < s->n_blocks; n++) {
            const Block *b = s->blocks + n;
            attention(s, &b->own, s->own + n, 1, thread, threads);
            if (s->memory) attention(s, &b->across, s->memory + n, 0, thread, threads);
            feed_forward(s, &b->feed_forward, thread, threads);
        }
        if (s->norm.weight) {
            normalise(&s->norm, s->rows, s->blocks->own.output.outputs, s->x, s->x, thread, threads);
            TOGETHER
        }
        if (s->head.weight) multiply(&s->head, s->rows, s->x, s->logits, 0, thread, threads);
    }
}

/* What compiled.py must know: outputs of a panel, and numbers that are computed at once. */
int panel(void) { return PANEL; }
int lanes(void) { return LANES; }
