// `cria inspect FILE`: what a model file is made of, for people or as JSON.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "commands.h"
#include "cria/toolchain.h"
#include "inspect_commands.h"
#include "terminal.h"

namespace cria::cli {
namespace {

using Json = nlohmann::ordered_json;

// A scalar or a short list on one line.
std::string one_line(const Json& value) {
  return value.is_string() ? value.get<std::string>()
                           : value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool is_table(const Json& value) {
  return value.is_array() && !value.empty() && value.front().is_object();
}

// One row an element, columns as wide as their widest cell: names, types, shapes, sizes.
std::string table_text(const Json& rows, int indent) {
  std::vector<std::string> keys;
  std::vector<std::size_t> widths;
  for (const auto& [key, value] : rows.front().items()) {
    keys.push_back(key);
    widths.push_back(key.size());
  }
  for (const Json& row : rows) {
    for (std::size_t i = 0; i < keys.size(); ++i) {
      if (row.contains(keys[i])) widths[i] = std::max(widths[i], one_line(row[keys[i]]).size());
    }
  }
  std::string text(indent, ' ');
  for (std::size_t i = 0; i < keys.size(); ++i) text += fmt::format("{:<{}}  ", keys[i], widths[i]);
  text += '\n';
  for (const Json& row : rows) {
    text.append(indent, ' ');
    for (std::size_t i = 0; i < keys.size(); ++i) {
      text +=
          fmt::format("{:<{}}  ", row.contains(keys[i]) ? one_line(row[keys[i]]) : "", widths[i]);
    }
    text += '\n';
  }
  return text;
}

// Rows that hold tables or objects themselves cannot be lines of a table.
bool is_flat(const Json& row) {
  return std::none_of(row.begin(), row.end(),
                      [](const Json& cell) { return cell.is_object() || is_table(cell); });
}

std::string value_text(const Json& value, int indent);

std::string entry_text(const std::string& key, const Json& value, int indent) {
  if (!value.is_object() && !is_table(value)) {
    return fmt::format("{:{}}{:<20} {}\n", "", indent, key, one_line(value));
  }
  const std::string count = is_table(value) ? fmt::format(" ({})", value.size()) : "";
  return fmt::format("{:{}}{}{}\n", "", indent, key, count) + value_text(value, indent + 2);
}

std::string value_text(const Json& value, int indent) {
  if (is_table(value) && std::all_of(value.begin(), value.end(), is_flat))
    return table_text(value, indent);
  std::string text;
  if (value.is_array()) {
    for (const Json& element : value) {
      text += fmt::format("{:{}}-\n", "", indent) + value_text(element, indent + 2);
    }
    return text;
  }
  for (const auto& [key, element] : value.items()) text += entry_text(key, element, indent);
  return text;
}

struct Arguments {
  std::string path;
  std::string method;
  bool commands = false;
  bool json = false;
};

int run(const Arguments& arguments) {
  Result<std::string> description = arguments.commands
                                        ? inspect_commands(arguments.path, arguments.method)
                                        : inspect(arguments.path);
  if (!description.ok()) return fail(description.status());
  std::string text = *description + "\n";
  if (!arguments.json) {
    const Json json = Json::parse(*description);
    text = arguments.commands ? commands_text(json) : value_text(json, 0);
  }
  const Status status = write_stdout(text);
  return status.ok() ? 0 : fail(status);
}

}  // namespace

void add_inspect(CLI::App& app, Command& selected) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      app.add_subcommand("inspect", "describe a .pte, a GGUF file or a safetensors folder");
  command
      ->add_option("FILE", arguments->path, "file, folder, or id in the local Hugging Face cache")
      ->required();
  CLI::Option* commands = command->add_flag("--commands", arguments->commands,
                                            "the commands that the program gives to an NPU");
  command->add_option("--method", arguments->method, "of one method only: prefill, decode, verify")
      ->needs(commands);
  command->add_flag("--json", arguments->json, "as JSON");
  command->callback([arguments, &selected] { selected = [arguments] { return run(*arguments); }; });
}

}  // namespace cria::cli
