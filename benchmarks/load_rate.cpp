// Loads, and read-modify-writes, of vectors that lie in the first-level cache: how many a core does in a second at best.
#include <chrono>
#include <cstdint>

namespace {

constexpr int kBufferBytes = 16 * 1024;  // half of the smallest first-level cache about
constexpr int kUnrolled = 16;            // vectors to a turn of the loop: its counter and jump hide behind them

template <int Bytes>
using Vector __attribute__((vector_size(Bytes), may_alias)) = float;

// An empty instruction that takes the vector from a register: the compiler has to load it, and nothing else is done with it.
template <class V>
inline void use(const V& vector) {
#if defined(__AVX512F__)
  asm volatile("" ::"v"(vector));
#elif defined(__SSE__)
  asm volatile("" ::"x"(vector));
#elif defined(__aarch64__)
  asm volatile("" ::"w"(vector));
#else
  asm volatile("" ::"m"(vector));
#endif
}

template <int Bytes>
struct Load {
  static inline void apply(char* at) { use(*reinterpret_cast<Vector<Bytes>*>(at)); }
};

// The row comes back to memory with something added, as rows of a gradient do.
template <int Bytes>
struct Modify {
  static inline void apply(char* at) {
    auto* row = reinterpret_cast<Vector<Bytes>*>(at);
    *row += 1.0f;
    asm volatile("" ::: "memory");  // the next turn finds it in memory, not in a register
  }
};

// Vectors a second over `rounds` walks through the buffer. Vectors side by side follow each other, as left and right neighbours do: a
// core merges their stores where they share a cache line.
template <int Bytes, class Step>
double rate(int64_t rounds) {
  alignas(64) char buffer[kBufferBytes] = {};
  const auto start = std::chrono::steady_clock::now();
  for (int64_t round = 0; round < rounds; ++round)
    for (char* at = buffer; at < buffer + kBufferBytes; at += kUnrolled * Bytes) {
#pragma GCC unroll 16
      for (int i = 0; i < kUnrolled; ++i) Step::apply(at + i * Bytes);
    }
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  return rounds * (kBufferBytes / Bytes) / taken.count();
}

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))
#define RATES(bytes)                                                                   \
  EXPORT double load_##bytes(int64_t rounds) { return rate<bytes, Load<bytes>>(rounds); }    \
  EXPORT double modify_##bytes(int64_t rounds) { return rate<bytes, Modify<bytes>>(rounds); }

// Wider vectors than the instruction set has would be taken apart.
RATES(16)
#if defined(__AVX2__)
RATES(32)
#endif
#if defined(__AVX512F__)
RATES(64)
#endif
