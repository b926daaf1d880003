#include "api/model_plans.h"

#include <algorithm>

#include "api/inspect.h"
#include "api/open_recipe.h"
#include "api/program_device.h"
#include "base/quote.h"
#include "compile/convert_weight.h"
#include "compile/methods.h"
#include "format/pte/pte_reader.h"
#include "model/checkpoint.h"
#include "model/inflate.h"
#include "model/resolve.h"
#include "runtime/program.h"
#include "targets/cpu/cpu_target.h"

namespace cria {
namespace {

using EncodingOf = std::function<Encoding(const ir::Weight&)>;

Result<ModelPlans> plans_of(const LlamaConfig& config, const ModelPlansRequest& wanted,
                            const EncodingOf& encoding_of) {
  MethodsRequest request;
  request.prefill_chunk = std::min(wanted.prefill_chunk, config.max_context);
  request.max_context = wanted.max_context;
  request.split_attention = wanted.split_attention;
  request.activations = "a8";
  request.k_type = wanted.k_type;
  request.v_type = wanted.v_type;
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
  if (const std::string device = program_device(*program); device.starts_with("sim:")) {
    return unsupported(
        "{}: compiled for {}, where cria profile tells its time; expected the checkpoint, or a "
        "program for the CPU",
        path, device);
  }
  ModelPlans plans;
  plans.description = path;
  plans.origin = ModelPlans::Origin::kProgram;
  CRIA_ASSIGN_OR_RETURN(plans.decode, plan_of_method(*program, "decode"));
  CRIA_ASSIGN_OR_RETURN(plans.prefill, plan_of_method(*program, "prefill"));
  return plans;
}

Result<ModelPlans> plans_of_checkpoint(const ModelPlansRequest& request) {
  CRIA_ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint,
                        open_checkpoint(request.model));
  CRIA_ASSIGN_OR_RETURN(const Recipe recipe,
                        open_recipe(request.quant.empty() ? "source" : request.quant, *checkpoint,
                                    {.takes = request.takes}));
  const auto encoding_of = [&](const ir::Weight& weight) {
    if (weight.n_rows == 1) return Encoding::kF32;
    const Result<const StoredWeight*> stored = checkpoint->weight(weight.name);
    return stored.ok() ? recipe.encoding_for(weight.name, kept_encoding(**stored, request.takes))
                       : Encoding::kF32;
  };
  CRIA_ASSIGN_OR_RETURN(ModelPlans plans, plans_of(checkpoint->config(), request, encoding_of));
  plans.origin = ModelPlans::Origin::kCheckpoint;
  plans.description = request.model + (request.quant.empty() ? "" : " " + request.quant);
  return plans;
}

Result<ModelPlans> plans_of_shape(const NamedShape& shape, const ModelPlansRequest& request) {
  const std::string quant = request.quant.empty() ? "q4c" : request.quant;
  CRIA_ASSIGN_OR_RETURN(const std::vector<ShapeEncoding> list, shape_encodings(quant));
  LlamaConfig whole = shape.sizes;
  whole.rope_inverse_frequencies = rope_inverse_frequencies(whole.head_dim, RopeScaling());
  const auto encoding_of = [&](const ir::Weight& weight) {
    return weight.n_rows == 1 ? Encoding::kF32 : encoding_for(list, weight.name);
  };
  CRIA_ASSIGN_OR_RETURN(ModelPlans plans, plans_of(whole, request, encoding_of));
  plans.description = request.model + " " + quant;
  return plans;
}

}  // namespace

Result<ModelPlans> open_model_plans(const ModelPlansRequest& request) {
  for (const NamedShape& shape : named_shapes()) {
    if (request.model == shape.name) return plans_of_shape(shape, request);
  }
  CRIA_ASSIGN_OR_RETURN(const std::string path, resolve_model(request.model));
  if (is_program_file(path)) return plans_of_program(path, request.quant);
  ModelPlansRequest resolved = request;
  resolved.model = path;
  return plans_of_checkpoint(resolved);
}

}  // namespace cria
