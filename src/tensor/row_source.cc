#include "tensor/row_source.h"

namespace cria {

bool has_codes_of(Encoding wide, Encoding encoding) {
  if (encoding == wide) return true;
  const EncodingSpec spec = encoding_spec(encoding);
  const bool has_block = spec.block == 32 || spec.block == 64 || spec.block == 128;
  return has_block && spec.scale == ScaleKind::kF16 && spec.block < encoding_spec(wide).block &&
         encoding_with_block(wide, spec.block) == encoding;
}

}  // namespace cria
