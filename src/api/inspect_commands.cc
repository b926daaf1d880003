#include <map>

#include "api/inspect.h"
#include "base/result.h"
#include "cria/toolchain.h"
#include "format/npu_commands/npu_access.h"
#include "format/npu_commands/npu_commands.h"
#include "format/pte/pte_reader.h"
#include "model/resolve.h"

namespace cria {
namespace {

using Json = nlohmann::ordered_json;

// One range of memory that a command reads or writes. Rows and their distance only if there are
// gaps between them.
Json access_json(const NpuCommands& all, const NpuCommand& command, const NpuAccess& access) {
  static constexpr const char* kMemories[] = {"sram", "scratch", "cache", "result"};
  Json json = {{"memory", kMemories[static_cast<int>(access.memory)]}};
  if (access.memory == NpuMemory::kCache) {
    json["layer"] = command.layer;
    json["of"] = command.is_value ? "values" : "keys";
    json["heads"] = {command.first_head, command.n_heads};
    json["bytes"] = access.bytes();
    return json;
  }
  if (access.memory == NpuMemory::kSram) json["buffer"] = all.buffers[access.buffer].name;
  json["at"] = access.offset;
  json["bytes"] = access.bytes();
  if (access.n_rows > 1 && access.stride != access.row_bytes) {
    json["rows"] = access.n_rows;
    json["stride"] = access.stride;
  }
  return json;
}

// What a weight transfer reads: part of named data, or the strip that a token chooses.
Json weight_json(const NpuCommands& all, const NpuCommand& command) {
  const NpuWeight& weight = all.weights[command.weight];
  Json json = {{"memory", "weights"}, {"weight", weight.key}};
  if (command.kind == NpuCommandKind::kLoadWeight) {
    json["at"] = command.dram_offset;
    json["bytes"] = command.n_bytes;
  } else {
    json["by_token"] = command.first_row;
    json["bytes"] = npu_panel_bytes(weight, weight.tiles.strip_panels * kPanelRows);
  }
  return json;
}

Json command_json(const NpuCommands& all, std::size_t index) {
  const NpuCommand& command = all.commands[index];
  const NpuOp& op = all.ops[command.op];
  Json reads = Json::array(), writes = Json::array();
  const bool loads_weight =
      command.kind == NpuCommandKind::kLoadWeight || command.kind == NpuCommandKind::kLoadStrip;
  if (loads_weight) reads.push_back(weight_json(all, command));
  for (const NpuAccess& access : npu_accesses(all, command))
    (access.write ? writes : reads).push_back(access_json(all, command, access));
  Json json = {{"index", index},
               {"engine", npu_engine_name(command.engine)},
               {"command", npu_command_name(command.kind)},
               {"op", op.kind},
               {"name", op.name},
               {"layer", op.layer},
               {"rows", {command.first_row, command.one_row ? 1 : command.n_rows}}};
  if (command.kind == NpuCommandKind::kMatmul) {
    json["weight"] = all.weights[command.weight].key;
    json["outputs"] = {command.first_panel * kPanelRows, command.n_out};
    json["accumulate"] = command.accumulate;
  }
  if (command.kind == NpuCommandKind::kSwitchContext) json["context"] = command.first_panel;
  json["reads"] = std::move(reads);
  json["writes"] = std::move(writes);
  json["after"] = command.after;
  return json;
}

Json stream_json(const NpuCommands& all) {
  Json json = npu_commands_json(all);
  Json contexts = Json::array(), buffers = Json::array(), loops = Json::array(),
       imports = Json::array(), commands = Json::array();
  for (const NpuContext& context : all.contexts)
    contexts.push_back({{"mapped_bytes", context.mapped_bytes}});
  for (const NpuImport& import : all.imports)
    imports.push_back({{"at", import.offset_bytes}, {"bytes", import.size_bytes}});
  for (const NpuBuffer& buffer : all.buffers) {
    buffers.push_back({{"name", buffer.name},
                       {"at", buffer.offset_bytes},
                       {"bytes", buffer.size_bytes},
                       {"first", buffer.first},
                       {"last", buffer.last}});
  }
  for (const NpuLoop& loop : all.loops)
    loops.push_back({{"first", loop.first}, {"n", loop.n}, {"end_row", loop.end_row}});
  for (std::size_t i = 0; i < all.commands.size(); ++i) commands.push_back(command_json(all, i));
  json["imports"] = std::move(imports);
  json["contexts"] = std::move(contexts);
  json["buffers"] = std::move(buffers);
  json["loops"] = std::move(loops);
  json["commands"] = std::move(commands);
  return json;
}

}  // namespace

Json npu_commands_json(const NpuCommands& commands) {
  std::map<std::string, int> kinds;
  for (const NpuCommand& command : commands.commands) ++kinds[npu_command_name(command.kind)];
  return {{"device", "sim:" + commands.profile_name},
          {"max_tokens", commands.max_tokens},
          {"max_context", commands.max_context},
          {"sram_bytes", commands.sram_bytes},
          {"align_bytes", commands.align_bytes},
          {"scratch_bytes", commands.scratch_bytes},
          {"kv_bytes_per_position", commands.cache.bytes_per_position()},
          {"n_commands", commands.commands.size()},
          {"by_kind", kinds}};
}

Result<std::string> inspect_commands(const std::string& path_or_id, const std::string& method) {
  CRIA_ASSIGN_OR_RETURN(const std::string path, resolve_model(path_or_id));
  if (!is_program_file(path)) return bad_input("{}: not a .pte", path);
  CRIA_ASSIGN_OR_RETURN(const MappedFile mapped, MappedFile::open(path));
  CRIA_ASSIGN_OR_RETURN(const pte::PteFile file, pte::read_pte(mapped.bytes(), path));
  Json streams = Json::array();
  std::string others;
  for (const pte::ExecutionPlan& plan : file.program.execution_plans) {
    if (plan.delegates.empty()) continue;
    others += (others.empty() ? "" : ", ") + plan.name;
    if (!method.empty() && plan.name != method) continue;
    for (std::size_t i = 0; i < plan.delegates.size(); ++i) {
      const std::span<const std::byte> blob = file.delegate_blob(plan.delegates[i]);
      if (!is_npu_commands(blob)) continue;
      CRIA_ASSIGN_OR_RETURN(const NpuCommands commands,
                            decode_npu_commands(blob, path + ": method " + plan.name));
      Json json = {{"method", plan.name}, {"part", i}};
      json.update(stream_json(commands));
      streams.push_back(std::move(json));
    }
  }
  if (streams.empty()) {
    return not_found("{}: {} has no commands of an NPU; methods: {}", path,
                     method.empty() ? "the program" : "method " + method, others);
  }
  return json_text({{"kind", "npu_commands"}, {"path", path}, {"streams", std::move(streams)}});
}

}  // namespace cria
