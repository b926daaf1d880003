// Graphs as text, for people, for tests and for `cria inspect`.
//
//   graph decode {
//     weight token_embd.weight: 512 x 64
//     input %tokens: i64[S]
//     input %position: i64[1]
//     %h: f32[S, 64] = embed(%tokens; token_embd.weight)
//     %n: f32[S, 64] = rms_norm(%h; blk.0.attn_norm.weight) {epsilon=1e-05}
//     output(%n)
//   }
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "ir/graph.h"

namespace cria::ir {

// REQUIRES: ids in range (any verified graph).
std::string print_graph(const Graph& graph);

// The inverse: print_graph(parse_graph(x)) == x for every x that print_graph made (values are
// numbered in the order of the text). The text is not trusted; what parses has also passed
// verify(). White space is free, '#' starts a comment. kBadInput with line and column.
Result<Graph> parse_graph(std::string_view text);

}  // namespace cria::ir
