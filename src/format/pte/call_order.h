// What a method's calls wait for, where its delegates may work at once.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "format/pte/pte_program.h"

namespace cria::pte {

// The key of a compile spec: the indices of earlier calls of the method, "0,2"; "": of none.
inline constexpr std::string_view kCallOrderSpec = "after";

// What says so of a call.
CompileSpec call_order_spec(std::span<const std::size_t> after);

// Of a call that `n_earlier` come before; nullopt: it does not say, and comes after all of them.
// kBadInput: a text of another form, or calls that are not earlier.
Result<std::optional<std::vector<std::size_t>>> read_call_order(const BackendDelegate& delegate,
                                                                std::size_t n_earlier);

}  // namespace cria::pte
