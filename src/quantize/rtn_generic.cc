#include "quantize/rtn_search.inc"

namespace cria {

void quantize_lanes_generic(Encoding encoding, const LaneWeights& in, LaneCodes& out) {
  quantize_lanes(encoding, in, out);
}

}  // namespace cria
