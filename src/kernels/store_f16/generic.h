// The specification of store_f16.
#pragma once

#include "kernels/kernels.h"
#include "tensor/float16.h"

namespace cria::spec {
namespace {

inline void store_f16(const StoreF16Args& args) {
  for (std::int64_t i = 0; i < args.n; ++i) args.out[i] = f32_to_f16(args.x[i]);
}

}  // namespace
}  // namespace cria::spec
