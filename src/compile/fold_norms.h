// The gains of norms go into the linears behind them.
#pragma once

#include "base/result.h"
#include "compile/edited_model.h"

namespace cria {

// q, k, v and gate, up multiply their columns by the gains in front of them, an untied head by the
// last norm's; those gains become 1. The gain before a tied head stays: the head is the embedding.
// A gain that is 1 already changes nothing, so folding twice is folding once.
Status fold_norms(EditedModel& model);

}  // namespace cria
