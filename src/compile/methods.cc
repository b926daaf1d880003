#include "compile/methods.h"

#include <algorithm>

#include "model/graph.h"

namespace cria {
namespace {

Result<ProgramMethod> compile_method(const LlamaConfig& config, const Target& target,
                                     const MethodsRequest& request, ProgramMethod method) {
  GraphOptions options;
  options.name = method.name;
  options.all_logits = method.all_rows;
  CRIA_ASSIGN_OR_RETURN(ir::Graph graph, build_llama_graph(config, options));
  const LowerTrace trace = method.name == "decode" ? request.trace : LowerTrace();
  CRIA_RETURN_IF_ERROR(lower(graph, trace, request.transforms));
  for (const ir::Weight& weight : graph.weights) {
    const Support support = target.supports(request.encoding_of(weight));
    if (!support.supported) {
      return unsupported("{}: weight {} in {}: {}", target.name(), weight.name,
                         encoding_spec(request.encoding_of(weight)).name, support.reason);
    }
  }
  MethodRequest wanted;
  wanted.max_tokens = method.max_tokens;
  wanted.max_context = request.max_context;
  wanted.activations = request.activations;
  wanted.k_type = request.k_type;
  wanted.v_type = request.v_type;
  wanted.split_attention = request.split_attention;
  wanted.encoding_of = request.encoding_of;
  CRIA_ASSIGN_OR_RETURN(method.compiled, target.compile(graph, wanted));
  return method;
}

Status share_weights(const ProgramMethod& method, std::vector<TargetWeight>& shared) {
  for (const TargetWeight& weight : method.compiled.weights) {
    const auto known = std::find_if(shared.begin(), shared.end(), [&](const TargetWeight& other) {
      return other.key == weight.key;
    });
    if (known == shared.end()) {
      shared.push_back(weight);
    } else if (*known != weight) {
      return internal_error("method {} wants weight {} in another form than earlier methods",
                            method.name, weight.key);
    }
  }
  return Status();
}

}  // namespace

Result<ProgramMethods> compile_methods(const LlamaConfig& config, const Target& target,
                                       const MethodsRequest& request) {
  const ProgramMethod wanted[] = {
      {"prefill", request.prefill_chunk, false, {}},
      {"decode", 1, false, {}},
      {"verify", request.verify_chunk, true, {}},
  };
  ProgramMethods program;
  for (const ProgramMethod& method : wanted) {
    CRIA_ASSIGN_OR_RETURN(ProgramMethod compiled, compile_method(config, target, request, method));
    CRIA_RETURN_IF_ERROR(share_weights(compiled, program.weights));
    if (!program.methods.empty() && program.methods[0].compiled.cache != compiled.compiled.cache) {
      return internal_error("method {} wants another cache than earlier methods", method.name);
    }
    program.methods.push_back(std::move(compiled));
  }
  return program;
}

}  // namespace cria
