// Sums over the lanes of several vectors at once.
#pragma once

#include "vector.h"

namespace dcnv3 {

// A part: four lanes. Vectors of L lanes have L / 4 of them.
template <class S, int L>
struct Fold {
  using Vec = Vector<S, L>;
  static constexpr int kParts = L / 4;

  // Lanes 0, 1 of every part from a, lanes 2, 3 from b.
  static inline Vec kept(const Vec& a, const Vec& b) {
    return pick<S, L>(a, b, [](int i) { return i % 4 < 2 ? i : i + L; });
  }

  // Lanes 2, 3 of every part of a, then lanes 0, 1 of b.
  static inline Vec moved(const Vec& a, const Vec& b) {
    return pick<S, L>(a, b, [](int i) { return i % 4 < 2 ? i + 2 : i + L - 2; });
  }

  // From ab = [a0 + a2, a1 + a3, b0 + b2, b1 + b3] in every part and cd likewise, the sums of every part: [a, b, c, d].
  static inline Vec finish(const Vec& ab, const Vec& cd) {
    const Vec first = pick<S, L>(ab, cd, [](int i) { return i / 4 * 4 + (i % 4 < 2 ? i % 4 * 2 : i % 4 * 2 - 4 + L); });
    const Vec second = pick<S, L>(ab, cd, [](int i) { return i / 4 * 4 + (i % 4 < 2 ? i % 4 * 2 + 1 : i % 4 * 2 - 3 + L); });
    return first + second;
  }

  // Sums of four vectors.
  static inline Vector<S, 4> sums(const Vec* v) {
    return across(finish(kept(v[0], v[1]) + moved(v[0], v[1]), kept(v[2], v[3]) + moved(v[2], v[3])));
  }

  // The sum of the parts.
  static inline Vector<S, 4> across(const Vec& v) {
    Vector<S, 4> sum = load<S, 4>(reinterpret_cast<const S*>(&v));
#pragma GCC unroll 3
    for (int part = 1; part < kParts; ++part) sum += load<S, 4>(reinterpret_cast<const S*>(&v) + 4 * part);
    return sum;
  }

  // As many vectors as there are parts become one, whose parts are the sums of the parts of each.
  static inline Vec join(const Vec* v) {
    if constexpr (kParts == 1) {
      return v[0];
    } else if constexpr (kParts == 2) {
      return halves<4>(v[0], v[1]);
    } else {
      const Vec a = halves<8>(v[0], v[1]), b = halves<8>(v[2], v[3]);
      const Vec first = pick<S, L>(a, b, [](int i) { return i / 4 % 2 * 8 + i % 4 + (i / 8) * L; });
      const Vec second = pick<S, L>(a, b, [](int i) { return i / 4 % 2 * 8 + 4 + i % 4 + (i / 8) * L; });
      return first + second;
    }
  }

 private:
  // The halves, H lanes each, of a added to one another, then those of b.
  template <int H>
  static inline Vec halves(const Vec& a, const Vec& b) {
    const Vec near = pick<S, L>(a, b, [](int i) { return i < H ? i : i + L; });
    const Vec far = pick<S, L>(a, b, [](int i) { return i < H ? i + H : i - H + L; });
    return near + far;
  }
};

}  // namespace dcnv3
