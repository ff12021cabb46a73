// Which instantiation serves which number of channels.
#pragma once

#include <type_traits>

#include "backward.h"

namespace dcnv3 {

// Calls body(L, V, K) with the lanes of a vector, the vectors that a sum keeps in registers, and the points if known (9) or 0.
template <class S, class Body>
void choose(const Problem& p, Body body) {
  constexpr int kMost = kLanes<S>;
  const int64_t channels = p.group_channels();
  const auto with = [&](auto lanes, auto vectors) {
    if (p.points() == 9) return body(lanes, vectors, std::integral_constant<int, 9>{});
    return body(lanes, vectors, std::integral_constant<int, 0>{});
  };
  const auto exactly = [&](auto width) {
    constexpr int kWidth = decltype(width)::value, kUsed = std::min(kWidth, std::max(4, kMost));
    return with(std::integral_constant<int, kUsed>{}, std::integral_constant<int, kWidth / kUsed>{});
  };
  if constexpr (std::is_same_v<S, double>) return exactly(std::integral_constant<int, std::max(4, kMost)>{});
  else if (channels <= 4) return exactly(std::integral_constant<int, 4>{});
  else if (channels <= 8) return exactly(std::integral_constant<int, 8>{});
  else if (channels <= 16) return exactly(std::integral_constant<int, 16>{});
  else return exactly(std::integral_constant<int, 32>{});
}

}  // namespace dcnv3
