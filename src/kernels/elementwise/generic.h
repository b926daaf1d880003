// The specification of add and mul.
#pragma once

#include "kernels/kernels.h"

namespace cria::spec {
namespace {

inline void add(const BinaryArgs& args) {
  for (std::int64_t i = 0; i < args.n; ++i) args.out[i] = args.x[i] + args.y[i];
}

inline void mul(const BinaryArgs& args) {
  for (std::int64_t i = 0; i < args.n; ++i) args.out[i] = args.x[i] * args.y[i];
}

}  // namespace
}  // namespace cria::spec
