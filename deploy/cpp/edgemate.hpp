// Runs a bundle's segments in ONNX Runtime, and stops at the earliest exit that will do.
//
// Header only, C++17, with ONNX Runtime's C++ API (1.12 or later). What to run and when to stop comes from the lines that
// flat_manifest.py writes. One image at a time, on the CPU. An object is for one thread at a time.

#pragma once

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace edgemate {

struct Segment {
    std::string file;
    std::vector<std::string> takes;
    std::vector<std::string> gives;  // the logits first
};

struct Manifest {
    std::int64_t channels = 0, height = 0, width = 0;
    float divisor = 1;
    std::vector<float> mean, deviation;  // per channel
    std::vector<std::string> labels;
    std::vector<Segment> segments;
    std::string score;                      // confidence, entropy or margin
    std::vector<float> thresholds, scales;  // per exit but the last
    std::vector<float> temperatures;        // per exit

    static Manifest read(const std::string& path);
};

struct Answer {
    std::size_t index;           // of the class
    std::size_t exit;            // counted from 1
    float probability;           // of the logits over the exit's temperature
    std::vector<float> logits;   // of that exit
};

// The scores of the policies, of logits that are finite. As edgemate.policies.scores has them.

inline std::vector<float> softmax(const std::vector<float>& logits) {
    const float largest = *std::max_element(logits.begin(), logits.end());
    std::vector<float> found(logits.size());
    float total = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) total += found[i] = std::exp(logits[i] - largest);
    for (float& one : found) one /= total;
    return found;
}

inline float confidence(const std::vector<float>& logits) {
    const std::vector<float> found = softmax(logits);
    return *std::max_element(found.begin(), found.end());
}

inline float entropy(const std::vector<float>& logits) {
    float nats = 0;
    for (float p : softmax(logits)) nats -= p > 0 ? p * std::log(p) : 0;
    return nats;
}

inline float margin(const std::vector<float>& logits) {
    std::vector<float> found = softmax(logits);
    if (found.size() == 1) return 1;
    std::partial_sort(found.begin(), found.begin() + 2, found.end(), [](float a, float b) { return a > b; });
    return found[0] - found[1];
}

class Classifier {
public:
    // `folder` is the bundle's; threads are those of each segment.
    Classifier(Manifest manifest, const std::string& folder, int threads = 1)
        : manifest_(std::move(manifest)), environment_(ORT_LOGGING_LEVEL_WARNING, "edgemate") {
        Ort::SessionOptions options;
        options.SetIntraOpNumThreads(threads);
        for (const Segment& segment : manifest_.segments)
            sessions_.emplace_back(environment_, (folder + "/" + segment.file).c_str(), options);
    }

    const Manifest& manifest() const { return manifest_; }

    // `image` is channels × height × width, ready for the network (see `normalized`), and stays as it is.
    Answer classify(std::vector<float>& image) {
        const std::array<std::int64_t, 4> shape{1, manifest_.channels, manifest_.height, manifest_.width};
        if (static_cast<std::int64_t>(image.size()) != shape[1] * shape[2] * shape[3])
            throw std::invalid_argument("the image has another size than the network's input");
        std::map<std::string, Ort::Value> tensors;
        tensors.emplace("image", Ort::Value::CreateTensor<float>(
            memory_, image.data(), image.size(), shape.data(), shape.size()));
        for (std::size_t number = 0;; ++number) {
            run(number, tensors);
            const std::vector<float> logits = logits_of(tensors.at(manifest_.segments[number].gives[0]));
            const bool last = number + 1 == sessions_.size();
            if (last && !finite(logits)) throw std::runtime_error("the logits of the last exit are not finite");
            if (last || stops(number, logits)) {
                const auto best = std::max_element(logits.begin(), logits.end());
                return {static_cast<std::size_t>(best - logits.begin()), number + 1,
                        confidence(divided(logits, manifest_.temperatures[number])), logits};
            }
        }
    }

    // Pixels of the network's size, height × width × channels with 0 to 255, as its input.
    std::vector<float> normalized(const std::vector<std::uint8_t>& pixels) const {
        const std::size_t area = manifest_.height * manifest_.width, channels = manifest_.channels;
        std::vector<float> image(area * channels);
        for (std::size_t c = 0; c < channels; ++c)
            for (std::size_t i = 0; i < area; ++i)
                image[c * area + i] = (static_cast<float>(pixels.at(i * channels + c)) * (1 / manifest_.divisor) -
                                       manifest_.mean[c]) / manifest_.deviation[c];
        return image;
    }

private:
    void run(std::size_t number, std::map<std::string, Ort::Value>& tensors) {
        const Segment& segment = manifest_.segments[number];
        std::vector<const char*> takes, gives;
        std::vector<const OrtValue*> inputs;
        for (const std::string& name : segment.takes) {
            takes.push_back(name.c_str());
            inputs.push_back(tensors.at(name));
        }
        for (const std::string& name : segment.gives) gives.push_back(name.c_str());
        std::vector<OrtValue*> outputs(gives.size(), nullptr);
        Ort::ThrowOnError(Ort::GetApi().Run(sessions_[number], nullptr, takes.data(), inputs.data(), inputs.size(),
                                            gives.data(), gives.size(), outputs.data()));
        for (std::size_t i = 0; i < gives.size(); ++i) tensors.emplace(segment.gives[i], Ort::Value{outputs[i]});
    }

    std::vector<float> logits_of(Ort::Value& tensor) const {
        const std::size_t count = tensor.GetTensorTypeAndShapeInfo().GetElementCount();
        if (count != manifest_.labels.size()) throw std::runtime_error("there is not one logit per class");
        const float* first = tensor.GetTensorMutableData<float>();
        return {first, first + count};
    }

    static bool finite(const std::vector<float>& logits) {
        return std::all_of(logits.begin(), logits.end(), [](float logit) { return std::isfinite(logit); });
    }

    // An exit with a logit that is not finite has no answer, so it stops nothing.
    bool stops(std::size_t number, const std::vector<float>& raw) const {
        if (!finite(raw)) return false;
        const std::vector<float> logits = divided(raw, manifest_.scales[number]);
        const float threshold = manifest_.thresholds[number];
        if (manifest_.score == "entropy") return entropy(logits) < threshold;
        return (manifest_.score == "margin" ? margin(logits) : confidence(logits)) > threshold;
    }

    static std::vector<float> divided(std::vector<float> logits, float by) {
        for (float& logit : logits) logit /= by;
        return logits;
    }

    Manifest manifest_;
    Ort::Env environment_;
    Ort::MemoryInfo memory_ = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    std::vector<Ort::Session> sessions_;
};

inline Manifest Manifest::read(const std::string& path) {
    std::ifstream source(path);
    if (!source) throw std::runtime_error(path + ": cannot be read");
    Manifest found;
    std::string line;
    while (std::getline(source, line)) {
        std::istringstream words(line);
        std::string name;
        words >> name;
        const auto numbers = [&words] {
            std::vector<float> all;
            for (float one; words >> one;) all.push_back(one);
            return all;
        };
        const auto texts = [&words] {
            std::vector<std::string> all;
            for (std::string one; words >> one;) all.push_back(one);
            return all;
        };
        if (name == "input") {
            words >> found.channels >> found.height >> found.width;
        } else if (name == "normalize") {
            const std::vector<float> all = numbers();
            const std::size_t channels = found.channels;
            if (all.size() != 1 + 2 * channels)
                throw std::runtime_error(path + ": normalize has not a divisor and two numbers per channel");
            found.divisor = all[0];
            found.mean.assign(all.begin() + 1, all.begin() + 1 + channels);
            found.deviation.assign(all.begin() + 1 + channels, all.end());
        } else if (name == "classes") {
            std::size_t count = 0;
            words >> count;
            for (std::string label; found.labels.size() < count && std::getline(source, label);)
                found.labels.push_back(label);
            if (found.labels.size() != count) throw std::runtime_error(path + ": has fewer labels than classes");
        } else if (name == "segment") {
            found.segments.emplace_back();
            words >> found.segments.back().file;
        } else if (name == "takes" && !found.segments.empty()) {
            found.segments.back().takes = texts();
        } else if (name == "gives" && !found.segments.empty()) {
            found.segments.back().gives = texts();
        } else if (name == "stop") {
            words >> found.score;
            found.thresholds = numbers();
        } else if (name == "scale") {
            found.scales = numbers();
        } else if (name == "temperature") {
            found.temperatures = numbers();
        } else {
            throw std::runtime_error(path + ": unknown line: " + line);
        }
    }
    const std::size_t exits = found.segments.size();
    if (exits == 0 || found.temperatures.size() != exits || found.thresholds.size() != exits - 1 ||
        found.scales.size() != exits - 1)
        throw std::runtime_error(path + ": has not one segment and temperature per exit, one threshold and scale fewer");
    for (const Segment& segment : found.segments)
        if (segment.takes.empty() || segment.gives.empty())
            throw std::runtime_error(path + ": a segment takes or gives nothing");
    return found;
}

}  // namespace edgemate
