// What passes share: finding the maker and the uses of a value, redirecting uses, dropping ops.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "ir/graph.h"

namespace cria::ir {

inline constexpr std::size_t kNoOp = static_cast<std::size_t>(-1);

// Index of the op that makes each value; kNoOp for inputs. One entry a value.
std::vector<std::size_t> makers(const Graph& graph);

// How many times each value is an input of an op. One entry a value.
std::vector<std::size_t> use_counts(const Graph& graph);

// Every op that takes `from` takes `to` instead.
void replace_uses(Graph& graph, ValueId from, ValueId to);

// A new value; its name is `name`, made unique by a suffix if it is taken.
ValueId add_value(Graph& graph, const std::string& name, Type type);

// Removes the ops whose flag is set, then the values that nobody makes any more and the weights
// that nobody uses, and renumbers. Inputs stay. REQUIRES: dropped.size() == graph.ops.size(); no
// remaining op uses a removed value.
void drop_ops(Graph& graph, const std::vector<bool>& dropped);

}  // namespace cria::ir
