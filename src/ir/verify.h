// Whether a graph is well-formed: run on everything parsed and after every pass.
#pragma once

#include <optional>

#include "base/result.h"
#include "ir/graph.h"

namespace cria::ir {

// The type of what `op` makes (none if it makes nothing), from the types of its inputs, its weights
// and its attributes. Fails with kBadInput where they do not fit the op kind; the message names the
// op. REQUIRES: the ids of `op` are in range.
Result<std::optional<Type>> infer_type(const Graph& graph, const Op& op);

// Every rule of a graph: names legal and unique, ids in range, each value made exactly once and
// before its uses, types and shapes as the op kinds demand, one output, each layer's cache appended
// to once and before it is read. kBadInput with the op and what was expected.
Status verify(const Graph& graph);

}  // namespace cria::ir
