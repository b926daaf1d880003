#include "model/fingerprint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "model/checkpoint_for_test.h"

namespace cria {
namespace {

using ::testing::HasSubstr;

ModelFingerprint fingerprint_of_file(const std::string& path) {
  auto checkpoint = open_checkpoint(path);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  return fingerprint_of(**checkpoint);
}

TEST(Fingerprint, DoesNotDependOnTheFileFormat) {
  const TemporaryFolder folder;
  write_small_hf_folder(folder);
  const ModelFingerprint hf = fingerprint_of_file(folder.path());
  const ModelFingerprint gguf = fingerprint_of_file(folder.write("m.gguf", small_gguf().build()));
  EXPECT_EQ(describe_difference(hf, gguf), "");
  EXPECT_EQ(hf.n_layers, 2);
  EXPECT_EQ(hf.weight_hashes.size(), 3U);
  EXPECT_NE(hf.weight_hashes[0], hf.weight_hashes[1]);
}

TEST(Fingerprint, TellsWhichLayerIsAnother) {
  const TemporaryFolder folder;
  write_small_hf_folder(folder);
  const ModelFingerprint original = fingerprint_of_file(folder.path());
  auto checkpoint = open_checkpoint(folder.path());
  ASSERT_TRUE(checkpoint.ok());
  auto weight = (*checkpoint)->weight("blk.1.ffn_up.weight");
  ASSERT_TRUE(weight.ok());
  // The last element of a middle layer's weight, in the file's bytes.
  std::string file = small_safetensors().build();
  const std::string row = small_model_row((*weight)->n_rows - 1, (*weight)->n_cols);
  // Which weight the bytes belong to does not matter: rows of all weights look alike, so the last
  // occurrence in the file is changed and must be noticed.
  const std::size_t at = file.rfind(row);
  ASSERT_NE(at, std::string::npos);
  file[at] = static_cast<char>(file[at] ^ 1);
  folder.write("model.safetensors", file);
  EXPECT_THAT(describe_difference(fingerprint_of_file(folder.path()), original),
              HasSubstr("differ"));
}

}  // namespace
}  // namespace cria
