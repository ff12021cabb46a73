// CUDA's vocabulary for g++: one fibre a thread, run one after another until each waits for its warp or its block.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#define DCNV3_EMULATED 1
#define DCNV3_SHARED(name) unsigned char* name = emulator::block.shared
#define __device__
#define __forceinline__ inline
#define threadIdx (emulator::running->index)
#define blockIdx (emulator::block.index)
#define blockDim (emulator::block.size)

struct Dimension {
    unsigned x;
};

struct alignas(8) uint2 {
    unsigned x, y;
};

struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

namespace emulator {

constexpr unsigned WARP = 32;
constexpr size_t STACK = 256 * 1024, CANARY = 256;

enum class State { ready, at_warp, at_block, done };

struct Fibre {
    Dimension index;
    State state;
    int operation;        // what the lane waits for: all lanes of a warp must agree
    unsigned exchanges;   // shuffles so far; their parity picks a slot
    unsigned long long slots[2];
    ucontext_t context;
    std::vector<unsigned char> stack;
};

struct Range {
    const unsigned char* start;
    size_t bytes;
};

struct Block {
    Dimension index, size;
    unsigned char* shared;
    size_t shared_bytes;
};

inline Block block;
inline Fibre* running;
inline ucontext_t scheduler;
inline std::vector<Fibre> fibres;
inline std::vector<Range> ranges;
inline std::string failure;

// A thread that breaks a rule is not resumed; the launch then reports the first rule broken.
inline void fail(const std::string& what) {
    if (failure.empty()) failure = what + " (block " + std::to_string(block.index.x) + ", thread " + std::to_string(running->index.x) + ")";
    running->state = State::done;
    swapcontext(&running->context, &scheduler);
}

inline void wait(State state, int operation) {
    running->state = state;
    running->operation = operation;
    swapcontext(&running->context, &scheduler);
}

inline void check(const void* address, size_t bytes) {
    if (reinterpret_cast<size_t>(address) % bytes) fail("misaligned access of " + std::to_string(bytes) + " bytes");
    const auto* first = static_cast<const unsigned char*>(address);
    for (const Range& range : ranges)
        if (first >= range.start && first + bytes <= range.start + range.bytes) return;
    if (first >= block.shared && first + bytes <= block.shared + block.shared_bytes) return;
    fail("access outside every tensor");
}

bool run_block(unsigned order);
std::string launch(const std::function<void()>& kernel, unsigned blocks, unsigned threads, size_t shared, unsigned order);

}  // namespace emulator

using std::floor;

inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fmaf_rn(float x, float y, float z) { return std::fma(x, y, z); }
inline double __dmul_rn(double x, double y) { return x * y; }
inline double __dadd_rn(double x, double y) { return x + y; }
inline double __fma_rn(double x, double y, double z) { return std::fma(x, y, z); }
inline long long __float2ll_rn(float x) { return std::llrint(x); }
inline long long __double2ll_rn(double x) { return std::llrint(x); }

inline float __uint_as_float(unsigned bits) {
    float number;
    std::memcpy(&number, &bits, 4);
    return number;
}

inline unsigned __float_as_uint(float number) {
    unsigned bits;
    std::memcpy(&bits, &number, 4);
    return bits;
}

template <class Word>
Word __ldg(const Word* source) {
    emulator::check(source, sizeof(Word));
    return *source;
}

template <class Word>
void emulated_put(Word* target, Word word) {
    emulator::check(target, sizeof(Word));
    *target = word;
}

template <class Number>
void atomicAdd(Number* target, Number number) {
    emulator::check(target, sizeof(Number));
    *target += number;
}

inline void emulated_add_four(float* target, float p, float q, float r, float s) {
    emulator::check(target, 16);
    target[0] += p, target[1] += q, target[2] += r, target[3] += s;
}

inline void __syncthreads() { emulator::wait(emulator::State::at_block, 0); }
inline void __syncwarp() { emulator::wait(emulator::State::at_warp, 0); }

template <class Number>
Number __shfl_xor_sync(unsigned mask, Number number, int apart) {
    if (mask != 0xffffffffu) emulator::fail("a shuffle of part of a warp");
    emulator::Fibre& self = *emulator::running;
    const unsigned slot = self.exchanges++ % 2;
    std::memcpy(&self.slots[slot], &number, sizeof number);
    emulator::wait(emulator::State::at_warp, apart);
    std::memcpy(&number, &emulator::fibres[self.index.x ^ static_cast<unsigned>(apart)].slots[slot], sizeof number);
    return number;
}

inline float emulated_from_half(unsigned short bits) {
    const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    const float size = exponent == 31  ? (mantissa ? NAN : INFINITY)
                       : exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                                       : std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
    return bits & 0x8000 ? -size : size;
}

inline unsigned short emulated_to_half(float number) {
    const unsigned sign = std::signbit(number) ? 0x8000u : 0u;
    const float size = std::fabs(number);
    if (std::isnan(number)) return 0x7fff;
    if (size == 0) return static_cast<unsigned short>(sign);
    if (size >= 65520.0f) return static_cast<unsigned short>(sign | 0x7c00u);
    int exponent;
    std::frexp(size, &exponent);
    exponent = std::max(exponent, -13);  // subnormal numbers share their step
    const auto steps = static_cast<unsigned>(std::nearbyint(std::ldexp(size, 11 - exponent)));
    // A mantissa that rounds up to 2048 carries into the exponent by itself.
    return static_cast<unsigned short>(sign | ((static_cast<unsigned>(exponent + 13) << 10) + steps));
}

inline unsigned short emulated_to_bfloat(float number) {
    if (std::isnan(number)) return 0x7fff;
    const unsigned bits = __float_as_uint(number);
    return static_cast<unsigned short>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}
