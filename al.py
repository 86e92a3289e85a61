import torch,sys
torch.set_num_threads(1)
from recbole_bd import load_data_and_model
exec(open('/tmp/w/embeds_runs/spec.py').read().split("def run(f)")[0].split('from recbole_bd.backbones')[0]) if 0 else None
def parts(name):
    d='/tmp/w/shared/data/citeulike/citeulike.%s.inter'%name
    return [l.split('\t')[:2] for l in open(d).read().splitlines()[1:]]
train=parts('train'); valid=parts('valid')
for d in sys.argv[1:]:
    for who in ('teacher','student'):
        config,model,dataset=load_data_and_model(d+f'/{who}.pth')[:3]
        U=model.user_embedding.weight.detach(); V=model.item_embedding.weight.detach()
        tok=lambda f,x:[dataset.token2id(f,t) for t in x]
        u=torch.tensor(tok('user_id',[a for a,_ in train])); i=torch.tensor(tok('item_id',[b for _,b in train]))
        vu=torch.tensor(tok('user_id',[a for a,_ in valid])); vi=torch.tensor(tok('item_id',[b for _,b in valid]))
        cnt=torch.bincount(i,minlength=V.shape[0])
        order=u.argsort(stable=True); u2,i2=u[order],i[order]; st=torch.searchsorted(u2,torch.arange(U.shape[0]+1))
        res=torch.zeros(len(vu)); res2=torch.zeros(len(vu))
        for c in range(0,len(vu),512):
            us=vu[c:c+512]; S=U[us]@V.T; S[:,0]=-1e9
            for r,x in enumerate(us.tolist()): S[r,i2[st[x]:st[x+1]]]=-1e9
            pos=S.gather(1,vi[c:c+512,None]); rank=(S>pos).sum(1).float()
            res[c:c+512]=torch.where(rank<50,1/torch.log2(rank+2),torch.zeros(()))
            S[:,cnt==0]=-1e9
            rank=(S>pos).sum(1).float()
            res2[c:c+512]=torch.where(rank<50,1/torch.log2(rank+2),torch.zeros(()))
        cold=cnt[vi]==0
        print(d[-20:],who,'all %.4f'%res.mean(),'warm items %.4f'%res[~cold].mean(),'cold %.4f'%res[cold].mean(), 'warm without cold competitors %.4f'%res2[~cold].mean(),'norm warm/cold %.2f %.2f'%(V[cnt>0].norm(dim=1).mean(),V[(cnt==0)][1:].norm(dim=1).mean()),'users',round(U[1:].norm(dim=1).mean().item(),2))
