"""SR-GKP (Zhong et al., 2023).

Groups the filters of each convolution by kernel smoothness and drops, inside a group, the same input
channels of all its filters: a dense grouped convolution remains. No adversarial example anywhere.
"""
