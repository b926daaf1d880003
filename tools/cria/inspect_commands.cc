#include "inspect_commands.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <vector>

namespace cria::cli {
namespace {

using Json = nlohmann::ordered_json;

// "codes0@0x12000+4096", "weights blk.0.attn_q.weight@0x0+65536", "cache keys heads 0+2 +8192".
std::string access_text(const Json& access) {
  const std::string memory = access["memory"];
  const auto bytes = access["bytes"].get<std::uint64_t>();
  if (memory == "cache") {
    return fmt::format("{} {} heads {}+{} +{}", memory, access["of"].get<std::string>(),
                       access["heads"][0].get<int>(), access["heads"][1].get<int>(), bytes);
  }
  std::string text = memory;
  if (memory == "sram") text = access["buffer"].get<std::string>();
  if (memory == "weights") text = access["weight"].get<std::string>();
  if (access.contains("by_token")) {
    text += fmt::format("[token {}]", access["by_token"].get<int>());
  } else {
    text += fmt::format("@{:#x}", access["at"].get<std::uint64_t>());
  }
  text += fmt::format("+{}", bytes);
  if (access.contains("rows")) {
    text += fmt::format(" ({} rows, {} apart)", access["rows"].get<std::uint64_t>(),
                        access["stride"].get<std::uint64_t>());
  }
  return text;
}

std::string accesses_text(const Json& accesses) {
  std::vector<std::string> texts;
  for (const Json& access : accesses) texts.push_back(access_text(access));
  return fmt::format("{}", fmt::join(texts, ", "));
}

std::string command_text(const Json& command) {
  const std::string op =
      command["op"].get<std::string>() + " " + command["name"].get<std::string>();
  std::string text =
      fmt::format("{:>6} {:<10} {:<15} {:<24} ", command["index"].get<int>(),
                  command["engine"].get<std::string>(), command["command"].get<std::string>(), op);
  if (command.contains("weight")) {
    text += fmt::format("{} outputs {}+{}: ", command["weight"].get<std::string>(),
                        command["outputs"][0].get<int>(), command["outputs"][1].get<int>());
  }
  if (command.contains("context")) text += fmt::format("to {} ", command["context"].get<int>());
  text += fmt::format("rows {}+{}: {}", command["rows"][0].get<int>(),
                      command["rows"][1].get<int>(), accesses_text(command["reads"]));
  if (!command["writes"].empty()) text += " -> " + accesses_text(command["writes"]);
  if (!command["after"].empty()) {
    text += fmt::format("; after {}",
                        fmt::join(command["after"].get<std::vector<std::uint64_t>>(), " "));
  }
  return text + "\n";
}

std::string stream_text(const Json& stream) {
  std::string text = fmt::format(
      "{}: {}, up to {} tokens a call, context {}; {} commands, {} bytes of SRAM, {} of scratch\n",
      stream["method"].get<std::string>(), stream["device"].get<std::string>(),
      stream["max_tokens"].get<std::int64_t>(), stream["max_context"].get<std::int64_t>(),
      stream["n_commands"].get<std::int64_t>(), stream["sram_bytes"].get<std::uint64_t>(),
      stream["scratch_bytes"].get<std::uint64_t>());
  std::size_t loop = 0;
  const Json& loops = stream["loops"];
  for (const Json& command : stream["commands"]) {
    const int index = command["index"];
    if (loop < loops.size() && index == loops[loop]["first"].get<int>()) {
      text += fmt::format("       for each two tiles of the cache that row {} sees:\n",
                          loops[loop]["end_row"].get<int>() - 1);
    }
    const bool inside = loop < loops.size() && index >= loops[loop]["first"].get<int>();
    if (inside) text += "  ";
    text += command_text(command);
    if (inside && index + 1 == loops[loop]["first"].get<int>() + loops[loop]["n"].get<int>())
      ++loop;
  }
  return text;
}

}  // namespace

std::string commands_text(const Json& json) {
  std::string text;
  for (const Json& stream : json["streams"]) text += stream_text(stream) + "\n";
  return text;
}

}  // namespace cria::cli
