// attention with AVX-512 VNNI.
#include "kernels/attention/avx512.h"

namespace cria {

void CRIA_AVX512VNNI_NAME(attention)(const AttentionArgs& args) {
  attention_block::attention<avx512::Avx512Attention>(args);
}

}  // namespace cria
