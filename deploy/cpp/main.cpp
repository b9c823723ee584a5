// Labels images that are ready for the network: float32, channels × height × width each, one after another in a file.
//
//     ./edgemate bundles/digits digits.txt images.f32
//
// One line per image: the exit that answered, the label, its probability, and with a fourth argument, --logits, the logits.

#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <vector>

#include "edgemate.hpp"

int main(int count, char** words) {
    if (count < 4 || (count == 5 && std::strcmp(words[4], "--logits") != 0) || count > 5) {
        std::fprintf(stderr, "usage: %s BUNDLE MANIFEST IMAGES [--logits]\n", words[0]);
        return 2;
    }
    try {
        edgemate::Classifier classifier(edgemate::Manifest::read(words[2]), words[1]);
        const edgemate::Manifest& manifest = classifier.manifest();
        std::ifstream source(words[3], std::ios::binary);
        if (!source) throw std::runtime_error(std::string(words[3]) + ": cannot be read");
        std::vector<float> image(manifest.channels * manifest.height * manifest.width);
        const std::streamsize bytes = image.size() * sizeof(float);
        while (source.read(reinterpret_cast<char*>(image.data()), bytes)) {
            const edgemate::Answer answer = classifier.classify(image);
            std::printf("%zu\t%s\t%.9g", answer.exit, manifest.labels[answer.index].c_str(), answer.probability);
            if (count == 5)
                for (float logit : answer.logits) std::printf("\t%.9g", logit);
            std::printf("\n");
        }
        if (source.gcount() != 0) throw std::runtime_error(std::string(words[3]) + ": ends within an image");
    } catch (const std::exception& error) {
        std::fprintf(stderr, "error: %s\n", error.what());
        return 2;
    }
}
