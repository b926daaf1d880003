// The methods of a compiled program: one graph each, sharing weights.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "compile/lower.h"
#include "model/config.h"
#include "targets/target.h"

namespace cria {

struct ProgramMethod {
  std::string name;  // "prefill", "decode", "verify"
  std::int64_t max_tokens = 1;
  bool all_rows = false;  // logits of every token
  CompiledMethod compiled;
};

struct ProgramMethods {
  std::vector<ProgramMethod> methods;
  std::vector<TargetWeight> weights;  // of all methods, each key once, in the order of their use
};

struct MethodsRequest {
  std::int64_t prefill_chunk = 1;
  std::int64_t verify_chunk = 1;
  std::int64_t max_context = 0;  // positions
  std::string activations;
  KvType k_type = KvType::kF16;
  KvType v_type = KvType::kF16;
  int split_attention = 0;  // MethodRequest::split_attention
  std::function<Encoding(const ir::Weight&)> encoding_of;
  std::vector<Pass> transforms;  // before all other passes
  LowerTrace trace;              // graphs of `decode`
};

// Builds, lowers and compiles each method. kUnsupported: the target's reason. kInternal: two
// methods want one key in two forms, or two caches.
Result<ProgramMethods> compile_methods(const LlamaConfig& config, const Target& target,
                                       const MethodsRequest& request);

}  // namespace cria
