#include <cstring>
#include <filesystem>
#include <map>
#include <variant>

#include "api/inspect.h"
#include "base/result.h"
#include "format/npu_commands/npu_commands.h"
#include "format/plan/plan.h"
#include "format/pte/pte_reader.h"

namespace cria {
namespace {

using Json = nlohmann::ordered_json;

// A value of a program as people read it: tensors by type and shape, scalars as they are.
Json value_json(const pte::Value& value) {
  Json json = {{"kind", pte::value_kind_name(value)}};
  if (const auto* tensor = std::get_if<pte::Tensor>(&value)) {
    json["dtype"] = pte::scalar_type_name(tensor->scalar_type);
    json["sizes"] = tensor->sizes;
    json["dynamic"] = tensor->shape_dynamism != pte::ShapeDynamism::kStatic;
    if (tensor->allocation) json["arena"] = tensor->allocation->memory_id;
  } else if (const auto* integer = std::get_if<std::int64_t>(&value)) {
    json["value"] = *integer;
  } else if (const auto* boolean = std::get_if<bool>(&value)) {
    json["value"] = *boolean;
  } else if (const auto* number = std::get_if<double>(&value)) {
    json["value"] = *number;
  } else if (const auto* text = std::get_if<std::string>(&value)) {
    json["value"] = *text;
  }
  return json;
}

Json values_json(const pte::ExecutionPlan& plan, const std::vector<std::int32_t>& indices) {
  Json list = Json::array();
  for (std::int32_t index : indices) list.push_back(value_json(plan.values[index]));
  return list;
}

Json delegate_json(const pte::PteFile& file, const pte::BackendDelegate& delegate) {
  const std::span<const std::byte> blob = file.delegate_blob(delegate);
  Json specs = Json::array();
  for (const pte::CompileSpec& spec : delegate.compile_specs) {
    specs.push_back({{"key", spec.key}, {"bytes", spec.value.size()}});
  }
  Json json = {{"id", delegate.id},
               {"blob_bytes", blob.size()},
               {"location", delegate.in_segment ? "segment" : "inline"},
               {"compile_specs", specs}};
  // Ours can be looked into; those of others stay closed.
  if (Result<Plan> plan = decode_plan(blob, delegate.id); plan.ok()) {
    std::map<std::string, int> ops;
    for (const PlanOp& op : plan->ops) ++ops[plan_op_name(op.kind)];
    json["plan"] = {{"max_tokens", plan->max_tokens},
                    {"scratch_bytes", plan->scratch_bytes},
                    {"kv_bytes_per_position", plan->kv.bytes_per_position()},
                    {"cache_type_k", kv_type_name(plan->kv.k_type)},
                    {"cache_type_v", kv_type_name(plan->kv.v_type)},
                    {"ops", ops}};
  }
  if (is_npu_commands(blob)) {
    const Result<NpuCommands> commands = decode_npu_commands(blob, delegate.id);
    json["npu_commands"] = commands.ok() ? npu_commands_json(*commands)
                                         : Json{{"refused", commands.status().message()}};
  }
  return json;
}

// A method without instructions is a constant.
bool is_constant(const pte::ExecutionPlan& plan) {
  std::size_t n_instructions = 0;
  for (const pte::Chain& chain : plan.chains) n_instructions += chain.instructions.size();
  return plan.inputs.empty() && n_instructions == 0;
}

Json constant_json(const pte::ExecutionPlan& plan) {
  Json values = Json::array();
  for (std::int32_t index : plan.outputs) {
    const Json value = value_json(plan.values[index]);
    values.push_back(value.contains("value") ? value["value"] : value["kind"]);
  }
  return values.size() == 1 ? values[0] : values;
}

Json method_json(const pte::PteFile& file, const pte::ExecutionPlan& plan) {
  std::size_t n_instructions = 0;
  for (const pte::Chain& chain : plan.chains) n_instructions += chain.instructions.size();
  Json operators = Json::array();
  for (const pte::Operator& op : plan.operators) {
    operators.push_back(op.overload.empty() ? op.name : op.name + "." + op.overload);
  }
  Json delegates = Json::array();
  for (const pte::BackendDelegate& delegate : plan.delegates)
    delegates.push_back(delegate_json(file, delegate));
  std::vector<std::int64_t> arenas = plan.non_const_buffer_sizes;
  if (!arenas.empty()) arenas.erase(arenas.begin());  // the format leaves the first one unused
  return {{"name", plan.name},
          {"inputs", values_json(plan, plan.inputs)},
          {"outputs", values_json(plan, plan.outputs)},
          {"n_values", plan.values.size()},
          {"n_instructions", n_instructions},
          {"arena_bytes", arenas},
          {"operators", operators},
          {"delegates", delegates}};
}

// Weights of a plan or of commands.
template <typename Weight>
void add_weight_shapes(const std::vector<Weight>& weights, std::map<std::string, Json>& shapes) {
  for (const Weight& weight : weights) {
    const char* encoding = weight.packed ? encoding_spec(weight.encoding).name : "f32 vector";
    shapes.emplace(weight.key,
                   Json{{"encoding", encoding}, {"shape", {weight.n_rows, weight.n_cols}}});
  }
}

// Weights of our programs, by the first method that names them.
std::map<std::string, Json> weight_shapes(const pte::PteFile& file) {
  std::map<std::string, Json> shapes;
  for (const pte::ExecutionPlan& method : file.program.execution_plans) {
    for (const pte::BackendDelegate& delegate : method.delegates) {
      const std::span<const std::byte> blob = file.delegate_blob(delegate);
      if (Result<Plan> plan = decode_plan(blob, delegate.id); plan.ok())
        add_weight_shapes(plan->weights, shapes);
      if (!is_npu_commands(blob)) continue;
      if (Result<NpuCommands> commands = decode_npu_commands(blob, delegate.id); commands.ok())
        add_weight_shapes(commands->weights, shapes);
    }
  }
  return shapes;
}

Json named_data_json(const pte::PteFile& file) {
  const std::map<std::string, Json> shapes = weight_shapes(file);
  Json list = Json::array();
  for (const pte::NamedData& data : file.program.named_data) {
    const pte::DataSegment& segment = file.program.segments[data.segment_index];
    Json json = {{"key", data.key},
                 {"bytes", segment.size_bytes},
                 {"offset", file.segment_base_offset + segment.offset_bytes}};
    const auto shape = shapes.find(data.key);
    json["encoding"] = shape == shapes.end() ? Json("") : shape->second["encoding"];
    json["shape"] = shape == shapes.end() ? Json("") : shape->second["shape"];
    list.push_back(std::move(json));
  }
  return list;
}

// What cria's compiler noted about the model; absent in programs of others.
Json metadata_json(const pte::PteFile& file) {
  const auto bytes = file.named_data("metadata");
  if (!bytes) return nullptr;
  Json json =
      Json::parse(reinterpret_cast<const char*>(bytes->data()),
                  reinterpret_cast<const char*>(bytes->data()) + bytes->size(), nullptr, false);
  return json.is_object() ? json : Json(nullptr);
}

}  // namespace

bool is_pte(std::span<const std::byte> bytes) {
  return bytes.size() >= 8 && std::memcmp(bytes.data() + 4, "ET", 2) == 0;
}

bool is_program_file(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return false;
  Result<MappedFile> file = MappedFile::open(path);
  return file.ok() && is_pte(file->bytes());
}

Result<std::string> inspect_pte(const MappedFile& mapped) {
  CRIA_ASSIGN_OR_RETURN(const pte::PteFile file, pte::read_pte(mapped.bytes(), mapped.path()));
  const pte::Program& program = file.program;
  Json methods = Json::array();
  Json constants = Json::object();
  for (const pte::ExecutionPlan& plan : program.execution_plans) {
    if (is_constant(plan)) {
      constants[plan.name] = constant_json(plan);
    } else {
      methods.push_back(method_json(file, plan));
    }
  }
  Json json = {
      {"kind", "pte"},
      {"path", mapped.path()},
      {"file_bytes", mapped.bytes().size()},
      {"program_version", program.version},
      {"program_bytes", file.program_bytes},
      {"extended_header", file.has_extended_header},
      {"segment_base_offset", file.segment_base_offset},
      {"n_segments", program.segments.size()},
      {"n_constant_tensors", program.constant_segment ? program.constant_segment->offsets.size()
                                                      : program.constant_buffer.size()},
      {"methods", methods},
      {"constant_methods", constants},
      {"named_data", named_data_json(file)}};
  if (const Json metadata = metadata_json(file); !metadata.is_null()) json["metadata"] = metadata;
  return json_text(json);
}

}  // namespace cria
