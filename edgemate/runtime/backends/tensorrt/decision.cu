// After an exit's logits: does the image stop here? Then its answer is written, else the graph goes on.
//
// decision.ptx is compiled from this file by `make kernel`, and is what is loaded. The driver supplies
// cudaGraphSetConditional when it loads it, so nothing is linked. Each step is done by all threads of one block before the next begins, and everything that steps hand on
// is in shared memory. So the same source, compiled for the host, does the steps thread by thread, which tests use.

#ifdef __CUDACC__
#define DEVICE __device__
#define KERNEL extern "C" __global__ void
#define SHARED __shared__
// After a barrier, once in each thread.
#define EACH_THREAD(t) __syncthreads(); for (int t = threadIdx.x, once = 1; once; once = 0)
#define ONE_AFTER_ANOTHER _Pragma("unroll 1")
extern "C" __device__ void cudaGraphSetConditional(unsigned long long handle, unsigned int value);
#else
#include <cmath>
#define DEVICE
#define KERNEL extern "C" void
#define SHARED static
#define EACH_THREAD(t) for (int t = 0; t < THREADS; ++t)
#define ONE_AFTER_ANOTHER
extern "C" void cudaGraphSetConditional(unsigned long long handle, unsigned int value);
#endif

#define THREADS 128

enum Score { CONFIDENCE = 0, ENTROPY = 1, MARGIN = 2, PATIENCE = 3 };

// When an exit stops an image. For PATIENCE the threshold is how often in a row an exit must agree with the one before.
struct Rule {
    int score;
    float threshold;
    float temperature;
    int unused;
};

// `logits` are those of `exit`. `non_finite` counts exits that were passed because a logit was no finite number.
struct Answer {
    int exit;
    int non_finite;
    int last_class;
    int agreed;
    float logits[1];
};

// The largest and the second largest of some values, and the first place of the largest.
struct Top {
    float first;
    float second;
    int place;
};

static DEVICE Top better(Top a, Top b) {
    bool left = a.first > b.first || (a.first == b.first && a.place < b.place);
    Top winner = left ? a : b, other = left ? b : a;
    if (other.first > winner.second) winner.second = other.first;
    return winner;
}

KERNEL decide(unsigned long long handle, const float *logits, const Rule *rules, Answer *answer, int exit, int exits,
              int classes) {
    SHARED Top top[THREADS];
    SHARED float total[THREADS], weighted[THREADS];
    SHARED int odd[THREADS];
    SHARED int stops;
    const bool last = exit == exits;
    const float temperature = last ? 1.0f : rules[exit - 1].temperature;

    EACH_THREAD(t) {
        Top mine = {-INFINITY, -INFINITY, classes};
        int is_odd = 0;
        for (int i = t; i < classes; i += THREADS) {
            float value = logits[i];
            if (!(fabsf(value) < INFINITY)) is_odd = 1;
            Top one = {value / temperature, -INFINITY, i};
            mine = better(mine, one);
        }
        top[t] = mine;
        odd[t] = is_odd;
    }
    ONE_AFTER_ANOTHER
    for (int half = THREADS / 2; half > 0; half /= 2) {
        EACH_THREAD(t) {
            if (t < half) {
                top[t] = better(top[t], top[t + half]);
                odd[t] |= odd[t + half];
            }
        }
    }
    EACH_THREAD(t) {
        float sum = 0.0f, product = 0.0f;
        for (int i = t; i < classes; i += THREADS) {
            float shifted = logits[i] / temperature - top[0].first;
            float exponential = expf(shifted);
            sum += exponential;
            product += exponential * shifted;
        }
        total[t] = sum;
        weighted[t] = product;
    }
    ONE_AFTER_ANOTHER
    for (int half = THREADS / 2; half > 0; half /= 2) {
        EACH_THREAD(t) {
            if (t < half) {
                total[t] += total[t + half];
                weighted[t] += weighted[t + half];
            }
        }
    }
    EACH_THREAD(t) {
        if (t == 0) {
            int non_finite = exit == 1 ? 0 : answer->non_finite;
            int last_class = exit == 1 ? -1 : answer->last_class;
            int agreed = exit == 1 ? 0 : answer->agreed;
            bool stop = last;
            if (!last && odd[0]) {
                ++non_finite;
                last_class = -1;
                agreed = 0;
            } else if (!last) {
                const Rule rule = rules[exit - 1];
                agreed = top[0].place == last_class ? agreed + 1 : 0;
                last_class = top[0].place;
                if (rule.score == CONFIDENCE) {
                    stop = 1.0f / total[0] > rule.threshold;
                } else if (rule.score == ENTROPY) {
                    float nats = logf(total[0]) - weighted[0] / total[0];
                    stop = (nats > 0.0f ? nats : 0.0f) < rule.threshold;
                } else if (rule.score == MARGIN) {
                    // Without a second class, exp(-infinity) is 0 and the margin 1.
                    stop = 1.0f / total[0] - expf(top[0].second - top[0].first) / total[0] > rule.threshold;
                } else if (rule.score == PATIENCE) {
                    stop = (float)agreed >= rule.threshold;
                }
            }
            answer->non_finite = non_finite;
            answer->last_class = last_class;
            answer->agreed = agreed;
            if (stop) answer->exit = exit;
            stops = stop;
            if (!last) cudaGraphSetConditional(handle, stop ? 0u : 1u);
        }
    }
    EACH_THREAD(t) {
        if (stops) {
            for (int i = t; i < classes; i += THREADS) answer->logits[i] = logits[i];
        }
    }
}
