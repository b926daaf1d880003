#include "api/model_plans.h"

#include <algorithm>

#include "api/inspect.h"
#include "api/open_recipe.h"
#include "base/quote.h"
#include "compile/methods.h"
#include "format/pte/pte_reader.h"
#include "model/checkpoint.h"
#include "model/inflate.h"
#include "model/resolve.h"
#include "runtime/program.h"
#include "targets/cpu/cpu_target.h"

namespace cria {
namespace {

Result<ModelPlans> plans_of(const LlamaConfig& config,
                            const std::function<Encoding(const ir::Weight&)>& encoding_of,
                            std::int64_t prefill_chunk) {
  MethodsRequest request;
  request.prefill_chunk = prefill_chunk;
  request.activations = "a8";
  request.encoding_of = encoding_of;
  CRIA_ASSIGN_OR_RETURN(const ProgramMethods program,
                        compile_methods(config, cpu_target(), request));
  ModelPlans plans;
  for (const ProgramMethod& method : program.methods) {
    if (method.name == "verify") continue;
    CRIA_ASSIGN_OR_RETURN(Plan plan, decode_plan(method.compiled.blob, method.name));
    (method.name == "decode" ? plans.decode : plans.prefill) = std::move(plan);
  }
  return plans;
}

// "q4c,token_embd=q8c": of the entries whose text a name contains, the last one's encoding.
struct ShapeEncoding {
  std::string part;  // empty: of all
  Encoding encoding = Encoding::kF32;
};

Result<std::vector<ShapeEncoding>> shape_encodings(const std::string& text) {
  std::vector<ShapeEncoding> list;
  for (std::string_view rest = text;;) {
    const std::size_t comma = rest.find(',');
    std::string_view entry = rest.substr(0, comma);
    ShapeEncoding made;
    if (const std::size_t equals = entry.find('='); equals != std::string_view::npos) {
      made.part = entry.substr(0, equals);
      entry.remove_prefix(equals + 1);
    }
    const std::optional<Encoding> encoding = encoding_from_name(entry);
    if (!encoding || made.part.empty() != list.empty()) {
      return invalid_argument(
          "--quant {} of a shape: expected an encoding, as q4c, q4, q8, then NAME=ENCODING for "
          "weights whose name contains NAME",
          quote(text));
    }
    made.encoding = *encoding;
    list.push_back(std::move(made));
    if (comma == std::string_view::npos) return list;
    rest.remove_prefix(comma + 1);
  }
}

Encoding encoding_for(const std::vector<ShapeEncoding>& list, const std::string& name) {
  Encoding encoding = list.front().encoding;
  for (const ShapeEncoding& entry : list) {
    if (name.find(entry.part) != std::string::npos) encoding = entry.encoding;
  }
  return encoding;
}

Result<Plan> plan_of_method(const Program& program, const char* method) {
  CRIA_ASSIGN_OR_RETURN(const pte::ExecutionPlan* plan, program.plan(method));
  if (plan->delegates.size() != 1)
    return unsupported("{}: method {} has {} delegates, one is expected", program.path(), method,
                       plan->delegates.size());
  Result<Plan> decoded = decode_plan(program.pte().delegate_blob(plan->delegates[0]), method);
  if (decoded.ok()) return decoded;
  return unsupported("{}: method {} was compiled for {}, expected {}", program.path(), method,
                     plan->delegates[0].id, kCpuDelegateId);
}

Result<ModelPlans> plans_of_program(const std::string& path, const std::string& quant) {
  if (!quant.empty())
    return invalid_argument("{}: already compiled, --quant {} needs the checkpoint", path, quant);
  CRIA_ASSIGN_OR_RETURN(const std::shared_ptr<const Program> program, Program::load(path));
  ModelPlans plans;
  plans.description = path;
  CRIA_ASSIGN_OR_RETURN(plans.decode, plan_of_method(*program, "decode"));
  CRIA_ASSIGN_OR_RETURN(plans.prefill, plan_of_method(*program, "prefill"));
  return plans;
}

Result<ModelPlans> plans_of_checkpoint(const std::string& path, const std::string& quant,
                                       std::int64_t prefill_chunk) {
  CRIA_ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint, open_checkpoint(path));
  CRIA_ASSIGN_OR_RETURN(const Recipe recipe,
                        open_recipe(quant.empty() ? "source" : quant, *checkpoint));
  const auto encoding_of = [&](const ir::Weight& weight) {
    if (weight.n_rows == 1) return Encoding::kF32;
    const Result<const StoredWeight*> stored = checkpoint->weight(weight.name);
    return stored.ok() ? recipe.encoding_for(weight.name, (*stored)->native_encoding())
                       : Encoding::kF32;
  };
  const std::int64_t chunk = std::min(prefill_chunk, checkpoint->config().max_context);
  CRIA_ASSIGN_OR_RETURN(ModelPlans plans, plans_of(checkpoint->config(), encoding_of, chunk));
  plans.description = path + (quant.empty() ? "" : " " + quant);
  return plans;
}

}  // namespace

Result<ModelPlans> plans_of_shape(const LlamaConfig& config,
                                  const std::function<Encoding(const std::string&)>& encoding_of,
                                  std::int64_t prefill_chunk) {
  LlamaConfig whole = config;
  whole.rope_inverse_frequencies = rope_inverse_frequencies(config.head_dim, RopeScaling());
  return plans_of(
      whole,
      [&](const ir::Weight& weight) {
        return weight.n_rows == 1 ? Encoding::kF32 : encoding_of(weight.name);
      },
      prefill_chunk);
}

Result<ModelPlans> open_model_plans(const std::string& model, const std::string& quant,
                                    std::int64_t prefill_chunk) {
  for (const NamedShape& shape : named_shapes()) {
    if (model != shape.name) continue;
    const std::string name = quant.empty() ? "q4c" : quant;
    CRIA_ASSIGN_OR_RETURN(const std::vector<ShapeEncoding> list, shape_encodings(name));
    CRIA_ASSIGN_OR_RETURN(
        ModelPlans plans,
        plans_of_shape(
            shape.sizes, [&](const std::string& name) { return encoding_for(list, name); },
            prefill_chunk));
    plans.description = model + " " + name;
    return plans;
  }
  CRIA_ASSIGN_OR_RETURN(const std::string path, resolve_model(model));
  return is_program_file(path) ? plans_of_program(path, quant)
                               : plans_of_checkpoint(path, quant, prefill_chunk);
}

}  // namespace cria
