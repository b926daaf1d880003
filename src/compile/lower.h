// From the model's primitive ops to the ops that targets take.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "ir/graph.h"

namespace cria {

// Called with "model" first, then after every pass with its name and the graph as text.
using LowerTrace = std::function<void(std::string_view pass, const std::string& graph_text)>;

// One rewriting of a graph; returns how much it changed.
struct Pass {
  const char* name;
  int (*run)(ir::Graph& graph);
};

// Runs `first`, what a recipe does to the model, and then all passes, in the order of the list in
// lower.cc, with the verifier after each. kInternal if a pass breaks the graph. `trace` may be
// empty.
Status lower(ir::Graph& graph, const LowerTrace& trace = {}, std::span<const Pass> first = {});

}  // namespace cria
