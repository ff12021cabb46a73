// Element types, conversions between them and whole-word memory access, without any header of the CUDA toolkit: NVRTC needs no include path.
#pragma once

namespace dcnv3 {

struct bfloat16 {
    unsigned short bits;
};

struct float16 {
    unsigned short bits;
};

// Sums are kept in `Sum<T>` and coordinates in `Sum<P>`: bfloat16 resolves a quarter of a pixel at x = 40.
template <class T>
struct SumOf {
    using type = float;
};

template <>
struct SumOf<double> {
    using type = double;
};

template <class T>
using Sum = typename SumOf<T>::type;

__device__ __forceinline__ double widen(double number) { return number; }
__device__ __forceinline__ float widen(float number) { return number; }
__device__ __forceinline__ float widen(bfloat16 number) { return __uint_as_float(static_cast<unsigned>(number.bits) << 16); }

#ifdef __CUDA_ARCH__

__device__ __forceinline__ float widen(float16 number) {
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(number.bits));
    return wide;
}

__device__ __forceinline__ void narrow(float number, float16& result) {
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(number));
}

__device__ __forceinline__ void narrow(float number, bfloat16& result) {
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(number));
}

template <class Word>
__device__ __forceinline__ void put(Word* target, Word word) {
    *target = word;
}

#else

__device__ __forceinline__ float widen(float16 number) { return emulated_from_half(number.bits); }
__device__ __forceinline__ void narrow(float number, float16& result) { result.bits = emulated_to_half(number); }
__device__ __forceinline__ void narrow(float number, bfloat16& result) { result.bits = emulated_to_bfloat(number); }

template <class Word>
__device__ __forceinline__ void put(Word* target, Word word) {
    emulated_put(target, word);
}

#endif

__device__ __forceinline__ void narrow(float number, float& result) { result = number; }
__device__ __forceinline__ void narrow(double number, double& result) { result = number; }

template <class To, class From>
__device__ __forceinline__ To convert(From number) {
    To result;
    narrow(static_cast<Sum<To>>(widen(number)), result);
    return result;
}

// Spelled out, because a compiler is free to fuse a product with the sum that follows it.
__device__ __forceinline__ float rounded_product(float x, float y) { return __fmul_rn(x, y); }
__device__ __forceinline__ float rounded_sum(float x, float y) { return __fadd_rn(x, y); }
__device__ __forceinline__ float fused(float x, float y, float z) { return __fmaf_rn(x, y, z); }
__device__ __forceinline__ double rounded_product(double x, double y) { return __dmul_rn(x, y); }
__device__ __forceinline__ double rounded_sum(double x, double y) { return __dadd_rn(x, y); }
__device__ __forceinline__ double fused(double x, double y, double z) { return __fma_rn(x, y, z); }

template <int BYTES>
struct WordOf;

template <>
struct WordOf<2> {
    using type = unsigned short;
};

template <>
struct WordOf<4> {
    using type = unsigned;
};

template <>
struct WordOf<8> {
    using type = uint2;
};

template <>
struct WordOf<16> {
    using type = uint4;
};

// COUNT neighbouring elements that travel as one word of up to 16 bytes.
template <class T, int COUNT>
struct alignas(sizeof(T) * COUNT) Pack {
    T item[COUNT];
};

template <int COUNT, class T>
__device__ __forceinline__ Pack<T, COUNT> load(const T* source) {
    using Word = typename WordOf<sizeof(T) * COUNT>::type;
    const Word word = __ldg(reinterpret_cast<const Word*>(source));
    Pack<T, COUNT> pack;
    memcpy(&pack, &word, sizeof pack);
    return pack;
}

template <int COUNT, class T>
__device__ __forceinline__ void store(T* target, const Sum<T> (&numbers)[COUNT]) {
    Pack<T, COUNT> pack;
#pragma unroll
    for (int c = 0; c < COUNT; ++c) pack.item[c] = convert<T>(numbers[c]);
    using Word = typename WordOf<sizeof(T) * COUNT>::type;
    Word word;
    memcpy(&word, &pack, sizeof word);
    put(reinterpret_cast<Word*>(target), word);
}

// numbers[c] = source[c], widened.
template <int COUNT, class T>
__device__ __forceinline__ void fetch(const T* source, Sum<T> (&numbers)[COUNT]) {
    const Pack<T, COUNT> pack = load<COUNT>(source);
#pragma unroll
    for (int c = 0; c < COUNT; ++c) numbers[c] = widen(pack.item[c]);
}

}  // namespace dcnv3
