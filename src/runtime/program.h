// A `.pte` in memory: mapped, checked, never copied.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/mapped_file.h"
#include "base/result.h"

namespace cria {

namespace pte {
struct ExecutionPlan;
struct PteFile;
}  // namespace pte

// An ExecuTorch program. Immutable; weights stay in the mapping and are read when a delegate
// touches them.
// Thread-safety: const methods are safe from any thread.
class Program {
 public:
  // kNotFound, kIo: the file. kBadInput: not a `.pte`, or a malformed one.
  static Result<std::shared_ptr<const Program>> load(const std::string& path);
  // The same, but its named data can be replaced, in memory alone: to see what a weight is worth.
  static Result<std::shared_ptr<Program>> load_for_edits(const std::string& path);
  ~Program();

  const std::string& path() const { return file_.path(); }
  std::uint64_t file_bytes() const { return file_.bytes().size(); }

  // Names of all methods, constants included, in the order of the file.
  const std::vector<std::string>& method_names() const { return method_names_; }
  bool has_method(std::string_view name) const;

  // The value of a constant method: one without inputs and instructions, whose only output is an
  // Int or a Bool. kNotFound: no such method. kBadInput: it is not constant, or has several values.
  Result<std::int64_t> constant(std::string_view name) const;
  // The same for one or more values ("get_eos_ids").
  Result<std::vector<std::int64_t>> constants(std::string_view name) const;

  // Named data, in place: it lives as long as the program. kNotFound names the key.
  Result<std::span<const std::byte>> named_data(std::string_view key) const;
  std::uint64_t named_data_bytes() const;  // of all of it

  // Of load_for_edits(): the bytes of named data to write to, and what the file has in their place
  // again. No method may run meanwhile. kNotFound names the key.
  Result<std::span<std::byte>> edit_named_data(std::string_view key);
  Status undo_edits(std::string_view key);

  // What the file says of a method. kNotFound lists the methods there are.
  Result<const pte::ExecutionPlan*> plan(std::string_view method) const;
  const pte::PteFile& pte() const { return *pte_; }

 private:
  Program(MappedFile file, std::unique_ptr<const pte::PteFile> pte);
  static Result<std::shared_ptr<Program>> of_file(MappedFile file, const std::string& path);
  std::size_t offset_of(std::span<const std::byte> data) const {
    return static_cast<std::size_t>(data.data() - file_.bytes().data());
  }

  MappedFile file_;
  std::unique_ptr<const pte::PteFile> pte_;  // points into file_
  std::vector<std::string> method_names_;
  std::unordered_map<std::string_view, std::span<const std::byte>> named_data_;
};

}  // namespace cria
