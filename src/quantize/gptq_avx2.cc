#include "quantize/gptq_columns.inc"

namespace cria {

void gptq_columns_avx2(const GptqTile& tile) { gptq_columns(tile); }

}  // namespace cria
