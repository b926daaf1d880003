// Building cria's own programs: methods that call one delegate or several, one after the other,
// methods that return constants, and named data.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "format/pte/pte_program.h"
#include "format/pte/pte_writer.h"

namespace cria::pte {

inline constexpr std::uint32_t kActivationArena = 1;  // inputs, outputs and scratch
inline constexpr std::uint32_t kCacheArena = 2;       // the KV cache, owned by who runs the program

enum class ArgumentRole { kInput, kOutput, kInternal };  // kInternal: only the delegate sees it

// An argument of a method's delegate call. Its place in its arena is chosen by build_program.
struct ArgumentSpec {
  ArgumentRole role = ArgumentRole::kInput;
  ScalarType scalar_type = ScalarType::kByte;
  std::vector<std::int32_t> sizes;  // the largest, if is_dynamic
  bool is_dynamic = false;
  std::uint32_t arena = kActivationArena;
};

struct DelegateSpec {
  std::string id;
  std::vector<std::byte> blob;
  std::vector<CompileSpec> compile_specs;
};

struct MethodSpec {
  std::string name;
  std::vector<ArgumentSpec> arguments;  // in the order of the call: inputs before outputs
  std::string delegate_id;
  std::vector<std::byte> blob;  // what the target's compiler made
  std::vector<CompileSpec> compile_specs;
  std::vector<DelegateSpec> then;  // called behind it, in this order, with the same arguments
};

// A method without inputs that returns these values.
struct ConstantMethod {
  std::string name;
  std::vector<std::variant<std::int64_t, bool>> values;
};

struct NamedDataSpec {
  std::string key;
  std::uint64_t size_bytes = 0;
};

struct ProgramSpec {
  std::vector<MethodSpec> methods;
  std::vector<ConstantMethod> constants;
  std::vector<NamedDataSpec> named_data;
};

// The program of a spec. Its segments: the methods' blobs, then the named data, in the order given.
// Fails with kInvalidArgument or kBadInput when the spec makes no valid program.
Result<Program> build_program(const ProgramSpec& spec);

// Builds the program, opens the file and writes the blobs; the caller then appends each named datum
// in order (segment = writer.program().named_data[i].segment_index) and calls finish().
Result<PteWriter> start_program(const std::string& path, const ProgramSpec& spec);

// A setting for a delegate, as text.
CompileSpec text_spec(std::string key, std::string_view value);

}  // namespace cria::pte
