// Which linears read the same activation, by name.
//
//   blk.N.attn_in      attn_q, attn_k, attn_v        blk.N.ffn_in      ffn_gate, ffn_up
//   blk.N.attn_mixed   attn_output                   blk.N.ffn_active  ffn_down
//   output_in          output.weight, or token_embd.weight when it is the head
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace cria {

// The input of the linear with this weight ("blk.3.attn_k.weight"). kNotFound names the weight.
Result<std::string> input_of_weight(std::string_view weight_name);

}  // namespace cria
