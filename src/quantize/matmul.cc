#include "quantize/matmul.h"

#include <cassert>

#include "base/cpu_features.h"

namespace cria {
namespace {

using Matmul = void (*)(const MatmulArgs& args);

Matmul pick_matmul() {
  [[maybe_unused]] const Isa isa = best_isa();
#ifdef CRIA_HAVE_AVX512VNNI  // x86: each level includes those before it
  if (isa != Isa::kGeneric && isa != Isa::kAvx2) return matmul_avx512vnni;
#endif
#ifdef CRIA_HAVE_AVX2
  if (isa != Isa::kGeneric) return matmul_avx2;
#endif
  return matmul_generic;
}

}  // namespace

void matmul(const MatmulArgs& args) {
  assert(args.n_cols % kMatmulColumns == 0);
  static const Matmul best = pick_matmul();
  best(args);
}

}  // namespace cria
